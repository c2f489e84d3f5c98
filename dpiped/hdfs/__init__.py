"""HDFS by WebHDFS: the config of the output, and files that come up whole or not at all."""

from dpiped.hdfs.config import HdfsConfig
from dpiped.hdfs.webhdfs import WebHdfs

__all__ = ["HdfsConfig", "WebHdfs"]
