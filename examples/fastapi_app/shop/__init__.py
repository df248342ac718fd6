"""A shop that takes orders over HTTP and packs them in the background."""
