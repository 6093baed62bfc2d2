"""Locking the process in: what a served vault gives up before it answers anybody. Linux alone, through libc."""
