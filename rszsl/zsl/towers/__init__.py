"""What is made of a frozen tower's tokens, and kept."""
