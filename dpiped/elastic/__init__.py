"""What the output `elasticsearch` is made of, beside its connections: index names, bulk bodies, answers, setup."""

from dpiped.elastic.bulk import ElasticsearchEvents, Judged, judge
from dpiped.elastic.config import ElasticsearchConfig
from dpiped.elastic.names import check_index, index_names
from dpiped.elastic.pace import Pace
from dpiped.elastic.template import index_template, lifecycle_policy

__all__ = [
    "ElasticsearchConfig",
    "ElasticsearchEvents",
    "Judged",
    "Pace",
    "check_index",
    "index_names",
    "index_template",
    "judge",
    "lifecycle_policy",
]
