"""The process sandbox of the server. Linux only, through libc."""
