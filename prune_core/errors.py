"""The errors of prune_core, under one base."""

from __future__ import annotations


class PruneCoreError(Exception):
    """The base of all errors of this package; a message says what is wrong and what is allowed."""


class UnknownMethodError(PruneCoreError, ValueError):
    """There is no method of this name on the axis."""


class DeclarationError(PruneCoreError, ValueError):
    """A declaration of a method cannot be read; the message names file and line."""


class DatasetError(PruneCoreError, RuntimeError):
    """A data set is missing or damaged; the message says what to do."""


class CheckpointError(PruneCoreError, ValueError):
    """A file of weights cannot be read, or is of another network; the message names both sides."""


class ExportError(PruneCoreError, RuntimeError):
    """A network cannot be written in a format, or its file is not what was written."""


class UnprunableError(PruneCoreError, ValueError):
    """A network cannot be pruned so; the message names the layer, and says what can be done."""


class DivergedError(PruneCoreError, ArithmeticError):
    """The loss was not finite; the same training would diverge again."""


class StrayReadError(PruneCoreError, RuntimeError):
    """A user's own method read what it is not given, such as test images; it says where."""


class OwnCodeError(PruneCoreError, RuntimeError):
    """A user's own method does what no method may, such as ending the process; it says which."""
