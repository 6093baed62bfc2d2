"""The compliance report, controls, attestations and evidence bundles."""
