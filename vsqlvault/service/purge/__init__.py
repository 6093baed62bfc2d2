"""Purging: proof, sweep, scrub, and the clock they rely on."""
