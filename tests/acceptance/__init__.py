"""What a user was promised, over a real socket."""
