"""The use cases: what can be done with a vault, whoever asks and however they ask."""
