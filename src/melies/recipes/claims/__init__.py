"""What a tutorial says, sentence by sentence, beside what was measured.

One module for each part, with its title, where its records lie and its claims; the table is strings, so
that it can be listed without loading any of them.
"""

PARTS = {
    "ladder": "melies.recipes.claims.ladder:PART",
    "guidance": "melies.recipes.claims.guidance:PART",
    "laboratory": "melies.recipes.claims.laboratory:PART",
    "control": "melies.recipes.claims.control:PART",
    "camera": "melies.recipes.claims.camera:PART",
}
"""Part → its `melies.recipes.claims.claim.Part`."""
