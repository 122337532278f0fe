"""How good the masks of single images are, and fitting the weights of the `graph` source (docs/masks.md)."""
