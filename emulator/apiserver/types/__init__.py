"""What the API's types look like, and objects as a typed server reads and writes them."""
