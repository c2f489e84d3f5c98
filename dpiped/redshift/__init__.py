"""Amazon Redshift: objects of a bucket are loaded into a table, each manifest of them once."""

from dpiped.redshift.config import RedshiftConfig
from dpiped.redshift.data_api import DataApi
from dpiped.redshift.session import Session
from dpiped.redshift.statements import Statements

__all__ = ["DataApi", "RedshiftConfig", "Session", "Statements"]
