"""The form of what one process leaves behind for another. Whoever reads it does not import whoever writes it."""
