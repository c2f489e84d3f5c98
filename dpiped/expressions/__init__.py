"""The `where` language: which events of a pack a filter or output wants. Its rules are in docs/where.md."""

from dpiped.expressions.errors import WhereError
from dpiped.expressions.predicate import Predicate, check_where, compile_where

__all__ = ["Predicate", "WhereError", "check_where", "compile_where"]
