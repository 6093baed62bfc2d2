"""What can be asked of the vault: one function a request, without a transport."""
