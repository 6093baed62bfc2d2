"""The request bodies as pydantic models."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from binascii import Error as NotBase64
from collections.abc import Mapping
from datetime import datetime, timedelta
from itertools import islice
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from vsqlvault.config import App
from vsqlvault.errors import (
    FieldError,
    InvalidBase64,
    InvalidTime,
    KeyRefWithoutValue,
    PayloadTooLarge,
    ValidationFailed,
)
from vsqlvault.errors.wording import worded
from vsqlvault.http.json_body import check_text, check_value_text
from vsqlvault.http.schemas.field_errors import MAX_FAULTS, MemberFault, Model, field_errors, field_path, unknown_field
from vsqlvault.http.schemas.metadata import (
    MAX_METADATA_BYTES,
    MAX_METADATA_KEY,
    MAX_METADATA_KEYS,
    canonical_within_limit,
    metadata_text,
)
from vsqlvault.model.access import Action
from vsqlvault.model.entry import EXTERNAL_ID, PURPOSE, ValueEncoding
from vsqlvault.model.policy import (
    DEFAULT_EVALUATOR,
    DEFAULT_POLICY,
    MAX_RETENTION_DAYS,
    AccessPolicy,
    RetentionPolicy,
    Rule,
)
from vsqlvault.model.principal import Role
from vsqlvault.model.times import parse_time
from vsqlvault.proof.canonical import read_canonical
from vsqlvault.service.credentials.api_keys import ApiKeyRequest
from vsqlvault.service.entries.requests import Preconditions, StoreRequest, UpdateRequest

_PURPOSE_WORDS = "1 to 64 lower-case letters, digits, _ and -, the first one a letter or digit"
_ID_WORDS = "1 to 256 letters, digits and . _ : @ ~ -, the first one a letter or digit"
_POLICY_WORDS = "1 to 128 lower-case letters, digits, . _ and -, the first one a letter or digit"
_APP_WORDS = "@owner, @admin, or 1 to 128 letters, digits and . _ : @ / -, the first one a letter or digit"
Purpose = Annotated[str, Field(pattern=worded(rf"^{PURPOSE.pattern}$", _PURPOSE_WORDS))]
ExternalId = Annotated[str, Field(pattern=worded(rf"^{EXTERNAL_ID.pattern}$", _ID_WORDS))]
HELD_PURPOSE = rf"^(\*|{PURPOSE.pattern})$"
PolicyName = Annotated[str, Field(pattern=worded(r"^[a-z0-9][a-z0-9._-]{0,127}$", _POLICY_WORDS))]
AllowedApp = Annotated[str, Field(pattern=worded(r"^(@owner|@admin|[A-Za-z0-9][A-Za-z0-9._:@/-]{0,127})$", _APP_WORDS))]
Ttl = Annotated[
    str,
    Field(
        pattern=worded(r"^[1-9][0-9]{0,9}[smhdw]$", "a number and w, d, h, m or s, such as 90d"),
        description="In place of expires_at: for how long from now, in seconds, minutes, hours, days or weeks.",
        examples=["90d"],
    ),
]
_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_BEYOND_ANY_POLICY_SECONDS = (MAX_RETENTION_DAYS + 1) * _UNIT_SECONDS["d"]
Prose = Annotated[str, Field(max_length=1024)]


class Body(BaseModel):
    """A JSON body with strict types and no unknown fields."""

    model_config = ConfigDict(extra="forbid", strict=True, defer_build=True)


class NoBody(Body):
    """A body without members."""


class StoreBody(Body):
    """The body of PUT /vault/{purpose}/{external_id}."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "encrypted_value": "vault:v1:c2VjcmV0",
                    "key_ref": "key-2027-01",
                    "metadata": {"last4": "4242"},
                    "ttl": "90d",
                }
            ]
        }
    )

    encrypted_value: str = Field(min_length=1, description="The ciphertext. It is returned byte for byte.")
    encoding: Literal["utf-8", "base64"] = Field(
        default="utf-8", description="How encrypted_value is encoded; base64 is RFC 4648 section 4 with padding."
    )
    algorithm_hint: str | None = Field(default=None, min_length=1, max_length=64)
    key_ref: str | None = Field(
        default=None, min_length=1, max_length=256, description="Your name for the key that encrypted the value."
    )
    metadata: dict[str, Any] = Field(
        default_factory=dict,
        json_schema_extra={"maxProperties": 64},
        description="An object of at most 8 KiB and 64 keys.",
    )
    expires_at: str | None = Field(
        default=None,
        description="RFC 3339 with offset. Left out: as the retention policy says.",
        json_schema_extra={"format": "date-time"},
    )
    ttl: Ttl | None = None
    access_policy: PolicyName = DEFAULT_POLICY

    @model_validator(mode="after")
    def _one_expiry(self) -> StoreBody:
        _check_one_expiry(self.expires_at, self.ttl)
        return self

    def wanted(self, preconditions: Preconditions, max_value_bytes: int) -> StoreRequest:
        """Return the entry to store.

        Raises:
            PayloadTooLarge, InvalidBase64, InvalidText, MetadataTooLarge, InvalidTime.
        """
        return StoreRequest(
            value=self.value_within(max_value_bytes),
            encoding=ValueEncoding(self.encoding),
            algorithm_hint=self.algorithm_hint,
            key_ref=self.key_ref,
            metadata=metadata_text(self.metadata),
            expires_at=body_time("expires_at", self.expires_at) if self.expires_at is not None else None,
            access_policy=self.access_policy,
            preconditions=preconditions,
            ttl=duration_of(self.ttl),
        )

    def value_within(self, max_value_bytes: int) -> bytes:
        """Return the bytes of the value. Raises PayloadTooLarge, InvalidBase64."""
        value = self._value()
        if len(value) > max_value_bytes:
            raise PayloadTooLarge(f"a value has at most {max_value_bytes} bytes")
        return value

    def _value(self) -> bytes:
        if self.encoding == "utf-8":
            return self.encrypted_value.encode("utf-8")
        try:
            value = b64decode(self.encrypted_value, validate=True)
        except (NotBase64, ValueError):
            value = b""
        if not value or b64encode(value).decode("ascii") != self.encrypted_value:
            raise InvalidBase64(errors=[FieldError("encrypted_value", "canonical base64 with padding")])
        return value


class UpdateBody(Body):
    """What PATCH /vault/{purpose}/{external_id} takes: a merge patch (RFC 7396), so null removes."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"ttl": "30d", "metadata": {"last4": None, "tier": "gold"}}]}
    )

    metadata: dict[str, Any] | None = Field(
        default=None, description="Merged into the metadata, member by member; null removes a member, or all of them."
    )
    expires_at: str | None = Field(
        default=None,
        description="RFC 3339 with offset. Null: as the retention policy says, counted from now.",
        json_schema_extra={"format": "date-time"},
    )
    ttl: Ttl | None = None
    access_policy: PolicyName | None = Field(default=None, description=f"Null: `{DEFAULT_POLICY}`.")

    @model_validator(mode="before")
    @classmethod
    def _leaves_the_value(cls, members: Any) -> Any:
        """Name what only a PUT changes. Raises KeyRefWithoutValue."""
        given = set(members) if isinstance(members, dict) else set()
        for name in ("encrypted_value", "encoding"):
            if name in given:
                raise MemberFault(name, "a PUT, which replaces the value: PATCH does not change it")
        if kept := sorted(given & {"key_ref", "algorithm_hint"}):
            raise KeyRefWithoutValue(errors=[FieldError(name, "a PUT with the new value") for name in kept])
        return members

    @model_validator(mode="after")
    def _one_expiry(self) -> UpdateBody:
        _check_one_expiry(self.expires_at, self.ttl)
        return self

    def wanted(self, preconditions: Preconditions) -> UpdateRequest:
        """Return what is to be changed; its metadata raises MetadataTooLarge. Raises InvalidTime."""
        given = self.model_fields_set
        return UpdateRequest(
            metadata=self._merged if "metadata" in given else None,
            access_policy=(self.access_policy or DEFAULT_POLICY) if "access_policy" in given else None,
            changes_expiry=bool(given & {"expires_at", "ttl"}),
            expires_at=body_time("expires_at", self.expires_at) if self.expires_at is not None else None,
            ttl=duration_of(self.ttl),
            preconditions=preconditions,
        )

    def _merged(self, present: str) -> str:
        return "{}" if self.metadata is None else metadata_text(merge_patch(read_canonical(present), self.metadata))


def merge_patch(target: Any, patch: Any) -> Any:
    """Return ``target`` with ``patch`` merged into it (RFC 7396, section 2)."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge_patch(merged.get(name), value)
    return merged


def _check_one_expiry(expires_at: str | None, ttl: str | None) -> None:
    if expires_at is not None and ttl is not None:
        raise MemberFault("ttl", "expires_at or ttl, not both")


def duration_of(text: str | None) -> timedelta | None:
    """Return the duration; one beyond every retention policy is cut to just beyond."""
    if text is None:
        return None
    seconds = int(text[:-1]) * _UNIT_SECONDS[text[-1]]
    return timedelta(seconds=min(seconds, _BEYOND_ANY_POLICY_SECONDS))


class RetentionPolicyBody(Body):
    """The body of PUT /admin/retention-policies/{purpose}."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"max_retention_days": 365, "default_ttl_days": 90, "purge_method": "physical-delete"}]
        }
    )

    max_retention_days: int = Field(ge=1, le=MAX_RETENTION_DAYS)
    default_ttl_days: int | None = Field(default=None, ge=1, le=MAX_RETENTION_DAYS)
    purge_method: str = Field(min_length=1, max_length=64)
    require_purge_proof: bool = Field(
        default=True,
        json_schema_extra={"const": True},
        description="Must be true. The vault never purges without proof.",
    )
    description: Prose | None = None
    justification: Prose | None = None
    legal_basis: Prose | None = None
    data_class: Prose | None = None

    allowed_access_policies: list[PolicyName] | None = Field(
        default=None, min_length=1, max_length=100, description="The access policies that entries may name. Null: any."
    )
    max_value_bytes: int | None = Field(default=None, ge=1, le=2**31 - 1)
    required_metadata: list[Annotated[str, Field(min_length=1, max_length=MAX_METADATA_KEY)]] = Field(
        default_factory=list, max_length=MAX_METADATA_KEYS, description="The members that metadata must have."
    )
    inactivity_days: int | None = Field(
        default=None,
        ge=1,
        le=MAX_RETENTION_DAYS,
        description="Entries expire this number of days after their last retrieval, and at the maximum at the latest.",
    )

    @field_validator("require_purge_proof")
    @classmethod
    def _always(cls, value: bool) -> bool:
        if not value:
            raise ValueError("true, because the vault never purges without proof")
        return value

    @model_validator(mode="after")
    def _within(self) -> RetentionPolicyBody:
        if self.default_ttl_days is not None and self.default_ttl_days > self.max_retention_days:
            raise MemberFault("default_ttl_days", "default_ttl_days within max_retention_days")
        if self.inactivity_days is not None and self.inactivity_days > self.max_retention_days:
            raise MemberFault("inactivity_days", "inactivity_days within max_retention_days")
        if self.inactivity_days is not None and self.default_ttl_days is not None:
            raise MemberFault("inactivity_days", "default_ttl_days or inactivity_days, not both")
        return self

    def policy(self, purpose: str) -> RetentionPolicy:
        """Return the requested policy. The vault sets version, author and time."""
        fields = self.model_dump(exclude={"require_purge_proof", "allowed_access_policies", "required_metadata"})
        allowed = self.allowed_access_policies
        return RetentionPolicy(
            purpose=purpose,
            version=0,
            allowed_access_policies=None if allowed is None else tuple(sorted(set(allowed))),
            required_metadata=tuple(sorted(set(self.required_metadata))),
            **fields,
        )


class RuleBody(Body):
    """The rule of one operation. ``allowed_apps`` null allows any app with the purpose."""

    allowed_apps: list[AllowedApp] | None = Field(default=None, max_length=1000)
    require_identity: bool = False
    max_retrievals: int | None = Field(default=None, ge=1, le=2**31 - 1)
    any_purpose: bool = False

    def rule(self) -> Rule:
        """Return the rule."""
        apps = None if self.allowed_apps is None else frozenset(self.allowed_apps)
        return Rule(apps, self.require_identity, self.max_retrievals, self.any_purpose)


class RulesBody(Body):
    """A rule for each operation. An operation without a rule is denied, except that inspecting follows retrieving."""

    store: RuleBody | None = None
    retrieve: RuleBody | None = None
    inspect: RuleBody | None = None
    purge: RuleBody | None = None

    @model_validator(mode="after")
    def _limits_where_they_apply(self) -> RulesBody:
        for name, rule in (("store", self.store), ("inspect", self.inspect), ("purge", self.purge)):
            if rule and rule.max_retrievals is not None:
                raise MemberFault((name, "max_retrievals"), "max_retrievals in the rule for retrieve only")
            if rule and rule.any_purpose and name != "inspect":
                raise MemberFault((name, "any_purpose"), "any_purpose in the rules for retrieve and inspect only")
        return self


class AccessPolicyBody(Body):
    """The body of PUT /admin/access-policies/{name}."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "rules": {
                        "store": {},
                        "retrieve": {"allowed_apps": ["@owner", "billing"]},
                        "purge": {"allowed_apps": ["@owner"]},
                    }
                }
            ]
        }
    )

    rules: RulesBody = RulesBody()
    evaluator: PolicyName = DEFAULT_EVALUATOR
    parameters: dict[str, Any] = Field(default_factory=dict, description="For an evaluator of a plugin.")
    description: Prose | None = None

    def policy(self, name: str) -> AccessPolicy:
        """Return the requested policy. The vault sets version, author and time."""
        rules = {action: rule.rule() for action in Action if (rule := getattr(self.rules, action.value)) is not None}
        parameters = canonical_within_limit(self.parameters)
        if parameters is None:
            raise ValidationFailed(errors=[FieldError("parameters", f"at most {MAX_METADATA_BYTES} bytes")])
        return AccessPolicy(name, 0, self.evaluator, rules, parameters, self.description)


class ApiKeyBody(Body):
    """The body of POST /admin/api-keys. The vault generates the key itself."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"app": "payments", "purposes": ["card"], "description": "Checkout, production"}]
        }
    )

    app: App
    purposes: list[Annotated[str, Field(json_schema_extra={"pattern": HELD_PURPOSE})]] = Field(
        default_factory=list,
        max_length=1000,
        description=('The purposes that the app may use with this key; ["*"] for all.'),
    )
    roles: list[Literal["admin", "auditor"]] = Field(default_factory=list, max_length=2)
    identity: str | None = Field(
        default=None, min_length=1, max_length=256, description="The workload or person behind the app."
    )
    expires_at: str | None = Field(
        default=None,
        description="RFC 3339 with offset, in the future. Left out: until it is revoked.",
        json_schema_extra={"format": "date-time"},
    )
    description: Prose | None = None

    @field_validator("purposes")
    @classmethod
    def _purposes(cls, value: list[str]) -> list[str]:
        if value != ["*"] and any(not PURPOSE.fullmatch(purpose) for purpose in value):
            raise ValueError('purposes of lower-case letters, digits, _ and -, or ["*"] for all')
        return value

    def wanted(self) -> ApiKeyRequest:
        """Return the grants of the key. Raises InvalidTime."""
        return ApiKeyRequest(
            app=self.app,
            identity=self.identity,
            purposes=None if self.purposes == ["*"] else frozenset(self.purposes),
            roles=frozenset(Role(role) for role in self.roles),
            description=self.description,
            expires_at=body_time("expires_at", self.expires_at) if self.expires_at is not None else None,
        )


def read_body(
    model: type[Model], value: Any, path: Mapping[str, str] = MappingProxyType({}), *, is_plain: bool = False
) -> Model:
    """Return the model of a parsed JSON body. It may repeat the parameters of the path, with the same values.

    ``is_plain``: the JSON text has printable ASCII only, and no escapes, so that its strings need no check.

    Raises:
        ValidationFailed: with field paths and what was expected, never the value. InvalidText.
    """
    if not isinstance(value, dict):
        raise ValidationFailed(errors=[FieldError("", "a JSON object")])
    known = model.model_fields
    for name in path:
        if name in value and name not in known:
            value = _without(value, name, path[name])
    if not value.keys() <= known.keys() and len(unknown := _first_unknown(value, known)) > MAX_FAULTS:
        raise ValidationFailed(
            errors=[FieldError(field_path((name,)), unknown_field(name, known)) for name in unknown[:MAX_FAULTS]]
        )
    if not is_plain:
        check_text({name: member for name, member in value.items() if name != "encrypted_value"})
        if isinstance(ciphertext := value.get("encrypted_value"), str):
            check_value_text(ciphertext, "encrypted_value")
    try:
        return model.model_validate(value)
    except ValidationError as refused:
        raise ValidationFailed(errors=field_errors(model, refused)) from None


def _first_unknown(body: Mapping[str, Any], known: Mapping[str, Any]) -> list[str]:
    return list(islice((name for name in body if name not in known), MAX_FAULTS + 1))


def _without(body: dict[str, Any], name: str, of_path: str) -> dict[str, Any]:
    """Return the body without a member that repeats a parameter of the path. Raises ValidationFailed: it differs."""
    if body[name] != of_path:
        raise ValidationFailed(errors=[FieldError(name, f"the {name} of the path, or left out")])
    return {member: value for member, value in body.items() if member != name}


def body_time(field: str, text: str) -> datetime:
    """Return the time of a member. Raises InvalidTime that names the member."""
    try:
        return parse_time(text)
    except InvalidTime as error:
        raise InvalidTime(errors=[FieldError(field, str(error).removeprefix("expected "))]) from None


def dump_json(value: Any) -> bytes:
    """Return compact JSON in UTF-8."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
