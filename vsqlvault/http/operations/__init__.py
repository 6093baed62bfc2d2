"""All operations of the HTTP API, by route."""

from vsqlvault.http.operations.access_reviews import OPERATIONS as ACCESS_REVIEW_OPERATIONS
from vsqlvault.http.operations.acknowledgements import OPERATIONS as ACKNOWLEDGEMENT_OPERATIONS
from vsqlvault.http.operations.api_keys import OPERATIONS as API_KEY_OPERATIONS
from vsqlvault.http.operations.attestations import OPERATIONS as ATTESTATION_OPERATIONS
from vsqlvault.http.operations.entries import OPERATIONS as ENTRY_OPERATIONS
from vsqlvault.http.operations.explain import OPERATIONS as EXPLAIN_OPERATIONS
from vsqlvault.http.operations.health import OPERATIONS as HEALTH_OPERATIONS
from vsqlvault.http.operations.history import OPERATIONS as HISTORY_OPERATIONS
from vsqlvault.http.operations.key_refs import OPERATIONS as KEY_REF_OPERATIONS
from vsqlvault.http.operations.legal_holds import OPERATIONS as HOLD_OPERATIONS
from vsqlvault.http.operations.logs import OPERATIONS as LOG_OPERATIONS
from vsqlvault.http.operations.policies import OPERATIONS as POLICY_OPERATIONS
from vsqlvault.http.operations.report import OPERATIONS as REPORT_OPERATIONS
from vsqlvault.http.operations.sign_in import OPERATIONS as SIGN_IN_OPERATIONS
from vsqlvault.http.operations.transparency import OPERATIONS as TRANSPARENCY_OPERATIONS

OPERATIONS = (
    *ENTRY_OPERATIONS,
    *POLICY_OPERATIONS,
    *EXPLAIN_OPERATIONS,
    *HOLD_OPERATIONS,
    *HISTORY_OPERATIONS,
    *API_KEY_OPERATIONS,
    *KEY_REF_OPERATIONS,
    *LOG_OPERATIONS,
    *TRANSPARENCY_OPERATIONS,
    *ATTESTATION_OPERATIONS,
    *ACCESS_REVIEW_OPERATIONS,
    *ACKNOWLEDGEMENT_OPERATIONS,
    *REPORT_OPERATIONS,
    *HEALTH_OPERATIONS,
    *SIGN_IN_OPERATIONS,
)

__all__ = ["OPERATIONS"]
