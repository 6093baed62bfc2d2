"""Errors of malformed requests."""

from __future__ import annotations

from vsqlvault.client.errors.base import Invalid


class BadRequest(Invalid):
    """The request is malformed."""

    slug = "bad-request"
    status = 400


class BadForwarding(BadRequest):
    """The forwarding headers of a listed proxy are malformed."""

    slug = "bad-forwarding"
    status = 400


class BadFraming(BadRequest):
    """Malformed request, or ambiguous message length."""

    slug = "bad-framing"
    status = 400


class ClientAborted(BadRequest):
    """The request ended before it was complete."""

    slug = "client-aborted"
    status = 400


class CredentialInUrl(BadRequest):
    """A credential stands in the URL: send it in a header, and replace it."""

    slug = "credential-in-url"
    status = 400


class DuplicateHeader(BadRequest):
    """A header that may occur once occurs twice."""

    slug = "duplicate-header"
    status = 400


class InvalidJson(BadRequest):
    """The body is not valid JSON."""

    slug = "invalid-json"
    status = 400


class DuplicateKey(InvalidJson):
    """A JSON object has one key twice."""

    slug = "duplicate-key"
    status = 400


class InvalidHeader(BadRequest):
    """A header has an invalid value."""

    slug = "invalid-header"
    status = 400


class InvalidPath(BadRequest):
    """The path is not valid: see the grammar of purposes, ids and names."""

    slug = "invalid-path"
    status = 400


class TooDeep(InvalidJson):
    """The JSON is nested too deeply."""

    slug = "too-deep"
    status = 400


class MethodNotAllowed(Invalid):
    """This route does not take that method."""

    slug = "method-not-allowed"
    status = 405


class NotAcceptable(Invalid):
    """None of the media types asked for can be served."""

    slug = "not-acceptable"
    status = 406


class RequestTimeout(BadRequest):
    """The request did not arrive in time."""

    slug = "request-timeout"
    status = 408


class PayloadTooLarge(Invalid):
    """The body or the value is larger than the vault accepts."""

    slug = "payload-too-large"
    status = 413


class UriTooLong(BadRequest):
    """The request target is too long."""

    slug = "uri-too-long"
    status = 414


class UnsupportedMediaType(Invalid):
    """The body must be application/json in UTF-8."""

    slug = "unsupported-media-type"
    status = 415


class ContentEncoding(UnsupportedMediaType):
    """Compressed bodies are not accepted."""

    slug = "content-encoding"
    status = 415


class ExpectationFailed(BadRequest):
    """The Expect header names something the vault does not support."""

    slug = "expectation-failed"
    status = 417


class ValidationFailed(Invalid):
    """Some fields are invalid."""

    slug = "validation-failed"
    status = 422


class RetentionRefused(ValidationFailed):
    """The retention policy does not allow this."""

    slug = "retention-refused"
    status = 422


class ExpiresInPast(RetentionRefused):
    """The entry would be expired when it is stored."""

    slug = "expires-in-past"
    status = 422


class InvalidBase64(ValidationFailed):
    """The value is not canonical base64 (RFC 4648, section 4, with padding)."""

    slug = "invalid-base64"
    status = 422


class InvalidQuery(ValidationFailed):
    """The query string is not valid for this route."""

    slug = "invalid-query"
    status = 422


class InvalidText(ValidationFailed):
    """A text contains a control character, a lone surrogate or a bidirectional override."""

    slug = "invalid-text"
    status = 422


class InvalidTime(ValidationFailed):
    """A time is not RFC 3339 with seconds and an explicit offset."""

    slug = "invalid-time"
    status = 422


class KeyRefWithoutValue(ValidationFailed):
    """key_ref and algorithm_hint change only together with the value."""

    slug = "key-ref-without-value"
    status = 422


class MetadataTooLarge(ValidationFailed):
    """The metadata is larger than the vault accepts."""

    slug = "metadata-too-large"
    status = 422


class NoRetentionPolicy(RetentionRefused):
    """The purpose has no retention policy, so nothing can be stored under it."""

    slug = "no-retention-policy"
    status = 422


class RetentionExceeded(RetentionRefused):
    """The entry would outlive the maximum of the retention policy."""

    slug = "retention-exceeded"
    status = 422


class UndefinedPolicy(ValidationFailed):
    """The access policy is not defined, and this vault requires that it is."""

    slug = "undefined-policy"
    status = 422


class HeadersTooLarge(BadRequest):
    """The request has too many header fields, or too large ones."""

    slug = "headers-too-large"
    status = 431


class TransferCodingUnknown(BadRequest):
    """The body has a transfer coding other than chunked."""

    slug = "transfer-coding-unknown"
    status = 501
