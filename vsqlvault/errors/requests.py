"""Requests that cannot be read, whoever sends them."""

from __future__ import annotations

from vsqlvault.errors.base import VaultError


class BadRequest(VaultError):
    """The request is malformed."""

    slug = "bad-request"
    status = 400
    reason = "bad_request"


class InvalidPath(BadRequest):
    """The path is not one this server has: see the grammar of purposes, ids and names."""

    slug = "invalid-path"
    reason = "invalid_path"


class DuplicateHeader(BadRequest):
    """A header that may stand once stands twice."""

    slug = "duplicate-header"
    reason = "duplicate_header"


class InvalidHeader(BadRequest):
    """A header has a value that cannot be understood."""

    slug = "invalid-header"
    reason = "invalid_header"


class CredentialInUrl(BadRequest):
    """A credential in a URL is a leaked credential: send it in a header, and replace this one."""

    slug = "credential-in-url"
    reason = "credential_in_url"
    credential_id: str | None = None
    """That of the credential, where it is one that is known; for the audit row only."""


class InvalidJson(BadRequest):
    """The body is not JSON as this server reads it."""

    slug = "invalid-json"
    reason = "invalid_json"


class DuplicateKey(InvalidJson):
    """A JSON object names one key twice."""

    slug = "duplicate-key"


class TooDeep(InvalidJson):
    """The JSON is nested too deeply."""

    slug = "too-deep"


class ClientAborted(BadRequest):
    """The client went away before its request was complete."""

    slug = "client-aborted"
    reason = "client_abort"


class RequestTimeout(BadRequest):
    """The request did not arrive in time."""

    slug = "request-timeout"
    status = 408
    reason = "body_timeout"


class UriTooLong(BadRequest):
    """The request target is too long."""

    slug = "uri-too-long"
    status = 414
    reason = "invalid_path"


class BadFraming(BadRequest):
    """The bytes are no HTTP/1.1 request, or say two things about where it ends."""

    slug = "bad-framing"
    reason = "bad_framing"


class BadForwarding(BadRequest):
    """A listed proxy says something of its client that cannot be understood."""

    slug = "bad-forwarding"
    reason = "bad_forwarding"


class HeadTooLarge(BadRequest):
    """The request has too many header fields, or too large ones."""

    slug = "headers-too-large"
    status = 431
    reason = "headers_too_large"


class ExpectationFailed(BadRequest):
    """The request expects what this server does not do."""

    slug = "expectation-failed"
    status = 417
    reason = "expectation_failed"


class UpgradeRefused(BadRequest):
    """There are no WebSockets here."""

    slug = "upgrade-refused"
    status = 403
    reason = "upgrade_refused"


class TransferCodingUnknown(BadRequest):
    """The body has a transfer coding other than chunked."""

    slug = "transfer-coding-unknown"
    status = 501
    reason = "transfer_coding_unknown"


class NoSuchRoute(VaultError):
    """There is no such route."""

    slug = "no-such-route"
    status = 404
    reason = "no_such_route"


class MethodNotAllowed(VaultError):
    """This route does not take that method."""

    slug = "method-not-allowed"
    status = 405
    reason = "method"


class NotAcceptable(VaultError):
    """None of the media types asked for can be served."""

    slug = "not-acceptable"
    status = 406
    reason = "not_acceptable"


class PayloadTooLarge(VaultError):
    """The body or the value is larger than this server takes."""

    slug = "payload-too-large"
    status = 413
    reason = "too_large"


class UnsupportedMediaType(VaultError):
    """The body must be application/json in UTF-8."""

    slug = "unsupported-media-type"
    status = 415
    reason = "media_type"


class ContentEncodingRefused(UnsupportedMediaType):
    """A compressed body is not taken."""

    slug = "content-encoding"
    reason = "content_encoding"


class ValidationFailed(VaultError):
    """Some fields are not as they should be."""

    slug = "validation-failed"
    status = 422
    reason = "validation"


class InvalidQuery(ValidationFailed):
    """The query string is not one this route understands."""

    slug = "invalid-query"
    reason = "invalid_query"


class InvalidText(ValidationFailed):
    """A text holds a character that is not taken: a control, a lone surrogate, a bidirectional override."""

    slug = "invalid-text"
    reason = "invalid_metadata"


class InvalidBase64(ValidationFailed):
    """The value is not canonical base64 (RFC 4648, section 4, with padding)."""

    slug = "invalid-base64"


class MetadataTooLarge(ValidationFailed):
    """The metadata is larger than this server takes."""

    slug = "metadata-too-large"


class InvalidTime(ValidationFailed):
    """A time is not RFC 3339 with seconds and an explicit offset."""

    slug = "invalid-time"
    reason = "invalid_time"
