"""People's own files as conversations: what is read, which layout it has, and which rows cannot be used, and why."""
