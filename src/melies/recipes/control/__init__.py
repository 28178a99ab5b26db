"""Control branches: a locked model learns to keep to hints."""

STRICT = "strict fidelity"
"""Of all kinds of hint together, with edges at the narrower tolerance."""
REACHED = "to the common fidelity"
"""End of the names of what training takes until the branch and the tuned base keep to hints as well."""
