"""The words of the vault as values: frozen, slotted, without I/O, standard library only."""
