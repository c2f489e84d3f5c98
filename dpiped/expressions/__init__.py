"""The `where` language: which events of a pack a filter or output wants. Its rules are in docs/where.md."""

from dpiped.expressions.errors import WhereError
from dpiped.expressions.predicate import Predicate, compile_where

__all__ = ["Predicate", "WhereError", "compile_where"]
