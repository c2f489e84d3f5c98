"""What is wrong with an expression, and where."""

from __future__ import annotations

from dpiped.errors import DpipeError


class WhereError(DpipeError):
    """The text is no expression; only raised when it is compiled, never for an event."""

    def __init__(self, message: str, text: str, at: int) -> None:
        self.at = min(at, len(text))
        """Character in the text, from 0."""
        self.line = text.count("\n", 0, self.at) + 1
        self.column = self.at - (text.rfind("\n", 0, self.at) + 1) + 1
        """From 1, in its line."""
        self.text = text
        where = f"column {self.column}" if "\n" not in text else f"line {self.line}, column {self.column}"
        super().__init__(f"{message}, at {where}")

    def caret(self) -> str:
        """The line and below it a caret at the place, two lines in all; long lines are cut around it."""
        line = (self.text.splitlines() or [""])[min(self.line, len(self.text.splitlines()) or 1) - 1].replace("\t", " ")
        start = max(0, self.column - 60)
        return f"{line[start : start + 100]}\n{' ' * (self.column - 1 - start)}^"
