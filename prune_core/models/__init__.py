"""Networks: architectures of libraries and our own, folded copies for attacks, and modes."""
