"""The values of the vault: frozen, slotted, without I/O, using only the standard library."""
