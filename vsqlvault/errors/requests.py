"""Errors of malformed requests."""

from __future__ import annotations

from vsqlvault.errors.base import VaultError


class BadRequest(VaultError):
    """The request is malformed."""

    slug = "bad-request"
    status = 400
    reason = "bad_request"


class InvalidPath(BadRequest):
    """The path is invalid: a purpose, an id or a name does not match its grammar."""

    slug = "invalid-path"
    reason = "invalid_path"


class DuplicateHeader(BadRequest):
    """A header that may occur once occurs more than once."""

    slug = "duplicate-header"
    reason = "duplicate_header"


class InvalidHeader(BadRequest):
    """A header has an invalid value."""

    slug = "invalid-header"
    reason = "invalid_header"


class CredentialInUrl(BadRequest):
    """The URL contains a credential: send it in a header, and replace this credential."""

    slug = "credential-in-url"
    reason = "credential_in_url"

    def __init__(self, credential_id: str | None = None) -> None:
        """``credential_id`` is the id of the credential, if it is known. For the audit row only."""
        super().__init__()
        self.credential_id = credential_id


class InvalidJson(BadRequest):
    """The body is not valid JSON."""

    slug = "invalid-json"
    reason = "invalid_json"


class DuplicateKey(InvalidJson):
    """A JSON object contains a duplicate key."""

    slug = "duplicate-key"


class TooDeep(InvalidJson):
    """The JSON is nested too deeply."""

    slug = "too-deep"


class ClientAborted(BadRequest):
    """The client disconnected before the request was complete."""

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
    """Malformed HTTP/1.1 request, or ambiguous message length."""

    slug = "bad-framing"
    reason = "bad_framing"


class BadForwarding(BadRequest):
    """A trusted proxy sent an invalid forwarding header."""

    slug = "bad-forwarding"
    reason = "bad_forwarding"


class HeadTooLarge(BadRequest):
    """The header fields are too many or too large."""

    slug = "headers-too-large"
    status = 431
    reason = "headers_too_large"


class ExpectationFailed(BadRequest):
    """The expectation in the Expect header is not supported."""

    slug = "expectation-failed"
    status = 417
    reason = "expectation_failed"


class UpgradeRefused(BadRequest):
    """WebSockets are not supported."""

    slug = "upgrade-refused"
    status = 403
    reason = "upgrade_refused"


class TransferCodingUnknown(BadRequest):
    """The transfer coding is not supported: only chunked is."""

    slug = "transfer-coding-unknown"
    status = 501
    reason = "transfer_coding_unknown"


class NoSuchRoute(VaultError):
    """The route does not exist."""

    slug = "no-such-route"
    status = 404
    reason = "no_such_route"


class MethodNotAllowed(VaultError):
    """The route does not support this method."""

    slug = "method-not-allowed"
    status = 405
    reason = "method"


class NotAcceptable(VaultError):
    """The route cannot produce any of the accepted media types."""

    slug = "not-acceptable"
    status = 406
    reason = "not_acceptable"


class PayloadTooLarge(VaultError):
    """The body or the value is too large."""

    slug = "payload-too-large"
    status = 413
    reason = "too_large"


class UnsupportedMediaType(VaultError):
    """The body must be application/json in UTF-8."""

    slug = "unsupported-media-type"
    status = 415
    reason = "media_type"


class ContentEncodingRefused(UnsupportedMediaType):
    """Compressed bodies are not supported."""

    slug = "content-encoding"
    reason = "content_encoding"


class ValidationFailed(VaultError):
    """Some fields are invalid."""

    slug = "validation-failed"
    status = 422
    reason = "validation"


class InvalidQuery(ValidationFailed):
    """The query string is invalid."""

    slug = "invalid-query"
    reason = "invalid_query"


class InvalidText(ValidationFailed):
    """A text contains an invisible character or a control character."""

    slug = "invalid-text"
    reason = "invalid_metadata"


class InvalidBase64(ValidationFailed):
    """The value is not canonical base64 (RFC 4648, section 4, with padding)."""

    slug = "invalid-base64"


class MetadataTooLarge(ValidationFailed):
    """The metadata is too large."""

    slug = "metadata-too-large"


class InvalidTime(ValidationFailed):
    """A time is not an RFC 3339 time with seconds and an explicit offset."""

    slug = "invalid-time"
    reason = "invalid_time"
