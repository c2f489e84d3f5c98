"""The rows of the benchmark: a config, a load, and the bound that was promised."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

HTTP = '[[input]]\ntype = "http"\nlisten = "127.0.0.1:{port}"\n'
SYSLOG = '[[input]]\ntype = "syslog"\ntransport = "tcp"\nlisten = "127.0.0.1:{port}"\nproject = "rs"\nident = "net"\n'
TAIL = (
    '[[input]]\ntype = "tail"\npaths = ["{folder}/load.log"]\nread_from = "start"\n'
    'project = "rs"\nident = "app"\ncodec = "json"\n'
)
DISCARD = '[[output]]\ntype = "discard"\n'
FILE = '[[output]]\ntype = "file"\npath = "{folder}/out/{{ident}}.ndjson"\n'
COUNT = (
    '[[filter]]\ntype = "aggregate"\nname = "traffic"\nident = "stats"\nwindow_secs = 60\ngroup_by = ["_area"]\n'
    '[filter.metrics]\nhits = {{ op = "count" }}\n[[output]]\ntype = "discard"\nname = "answers"\nmatch = ["stats"]\n'
)
ANSWERS = (
    '[[filter]]\ntype = "aggregate"\nname = "answers"\nident = "stats"\nwindow_secs = 60\ngroup_by = ["GROUP"]\n'
    '[filter.metrics]\nhits = {{ op = "count" }}\nusers = {{ op = "cardinality", field = "_log_info.uid" }}\n'
    'latency = {{ op = "quantiles", field = "_log_info.elapsed" }}\npages = {{ op = "topn", field = "uri" }}\n'
    '[[output]]\ntype = "discard"\nname = "out"\nmatch = ["stats"]\n'
)
"""Count, distinct, quantiles and top 10 in windows of a minute."""
ELASTIC = '[[output]]\ntype = "elasticsearch"\nhosts = ["http://127.0.0.1:{store}"]\nindex = "INDEX"\n'
S3 = (
    '[[output]]\ntype = "s3"\nbucket = "bucket"\nendpoint_url = "http://127.0.0.1:{store}"\naddressing = "path"\n'
    'access_key = "key"\nsecret_key = "secret"\nbatch = {{ max_secs = 0.5 }}\n'
)
KAFKA = (
    '[[input]]\ntype = "kafka"\nbrokers = ["127.0.0.1:{store}"]\ntopics = ["in"]\ngroup = "bench"\n'
    '[[output]]\ntype = "kafka"\nname = "out"\nbrokers = ["127.0.0.1:{store}"]\ntopic = "out"\nmetadata = false\n'
)
BEHAVIOR = (
    '[[output]]\ntype = "behavior"\ntable = "players"\nuid = "_log_info.uid:int"\naction = "action"\ndims = ["_area"]\n'
)
ARCHIVE = '[[input]]\ntype = "archive"\npaths = ["{folder}/*.gz"]\nproject = "rs"\nident = "old"\ncodec = "als"\n'
ADDING = (
    '[[filter]]\ntype = "transform"\nident = "clean"\n'
    '[[filter.steps]]\ndo = "range"\nfield = "lv"\nbounds = [0, 10, 20, 30, 40, 50, 60]\n'
    '[[filter.steps]]\ndo = "normalise"\nfield = "uri"\nrules = ["digits"]\n'
    '[[filter.steps]]\ndo = "set"\nvalues = {{ env = "prod" }}\n'
    '[[output]]\ntype = "discard"\nname = "out"\nmatch = ["clean"]\n'
)
"""Steps that only add fields."""
CHANGING = ADDING.replace(
    "[[output]]",
    '[[filter.steps]]\ndo = "drop"\nfields = ["_log_info.snsid"]\n'
    '[[filter.steps]]\ndo = "convert"\nfields = ["room"]\nto = "string"\n'
    '[[filter.steps]]\ndo = "mask"\nkind = "ip"\nfields = ["_log_info.ip"]\n[[output]]',
)
"""The same, and steps that need the events decoded."""
COLLECTOR = (
    '[collector]\ndata_dir = "{folder}/collector"\nendpoints = ["http://127.0.0.1:{port}"]\n'
    'status = "127.0.0.1:{admin}"\n'
    '[[input]]\ntype = "tail"\npaths = ["{folder}/load.log"]\nread_from = "start"\nproject = "rs"\nident = "app"\n'
)


@dataclass(frozen=True)
class Row:
    name: str
    about: str
    bound: float | None
    """At most so many R; None: shown without a bound."""
    config: str
    data: Literal["json", "als", "syslog"] = "json"
    load: Literal["post", "produce", "syslog", "tail", "collector", "latency", "archive", "prototype"] = "post"
    connections: int = 4
    per_post: int = 1_000
    idents: int = 1
    store: str = ""
    """What stands behind the daemon: a command of `tests.bench.load`, at the port `{store}` of the config."""
    later: str = ""
    """Tables that a reload adds when everything is ready: an input that would not wait for it."""
    gzip_apart: bool = False
    """What it takes to compress the same events by gzip, level 6, is measured and taken off."""
    share: float = 1.0
    """Of the events of a run: dear rows get fewer."""


ROWS = (
    Row("http", "http in, disk journal, discard", 0.8, HTTP + DISCARD),
    Row("http-file", "http in, disk journal, file out", 1.0, HTTP + FILE),
    Row("plain-http", "a plain prototype of `http`, that does nothing else", None, "", load="prototype"),
    Row("plain-file", "a plain prototype of `http-file`", None, "file", load="prototype"),
    Row("http-count", "the same and a count by one field in 60 s windows", 1.3, HTTP + FILE + COUNT),
    Row("answers", "http in, window of 4 metrics, 10 groups", 1.6, HTTP + ANSWERS.replace("GROUP", "_area")),
    Row("answers-10k", "the same, 10,000 groups", 4.0, HTTP + ANSWERS.replace("GROUP", "room")),
    Row(
        "elastic",
        "http in, to Elasticsearch (a stub), one index",
        1.5,
        HTTP + ELASTIC.replace("INDEX", "logs"),
        store="elastic",
    ),
    Row(
        "elastic-day",
        "the same, index by event time",
        2.0,
        HTTP + ELASTIC.replace("INDEX", "logs-%Y.%m.%d"),
        store="elastic",
    ),
    Row("s3", "http in, to S3 (a stub), gzip 6 taken off", 1.2, HTTP + S3, store="objects", gzip_apart=True),
    Row("s3-gzip", "the same, with it", None, HTTP + S3, store="objects"),
    Row("kafka", "kafka in, kafka out by transactions, a real broker", 2.0, KAFKA, load="produce", store="kafka"),
    Row("behavior", "http in, actions of users with a dimension into a table", 1.5, HTTP + BEHAVIOR),
    Row("transform", "http in, 3 steps that add fields, emitted again", 3.5, HTTP + ADDING),
    Row("transform-all", "the same and 3 that change fields inside objects", 10.0, HTTP + CHANGING),
    Row("collector", "collector: tail, zstd, POST to a sink", 0.8, COLLECTOR, load="collector"),
    Row("syslog", "syslog tcp, RFC 5424, disk journal, file out", 3.0, SYSLOG + FILE, data="syslog", load="syslog"),
    Row("tail", "the daemon's tail, json, file out", 1.2, TAIL + FILE, load="tail"),
    Row("als", "als lines, http in, file out", 1.3, HTTP + 'codec = "als"\n' + FILE, data="als"),
    Row(
        "archive",
        "archive of gzip files of als lines, discard",
        1.5,
        HTTP + DISCARD,
        data="als",
        load="archive",
        later=ARCHIVE,
    ),
    Row("idents", "http in to 1,000 idents, file out", None, HTTP + FILE, idents=1_000),
    *(
        Row(
            f"senders-{n}",
            f"{n} senders, 200 events a POST, disk journal",
            None,
            HTTP + DISCARD,
            connections=n,
            per_post=200,
        )
        for n in (1, 4, 64)
    ),
    Row(
        "small-posts",
        "1,000 connections that POST 5 events each",
        None,
        HTTP + FILE,
        connections=1_000,
        per_post=5,
        share=0.1,
    ),
    Row(
        "latency", "from POST to line in the file at half load (p99 at most 100 ms)", None, HTTP + FILE, load="latency"
    ),
    Row(
        "syslog-hosts", "1,000 syslog connections", None, SYSLOG + FILE, data="syslog", load="syslog", connections=1_000
    ),
)
