"""The sweep file: what a user writes, checked whole before anything runs."""
