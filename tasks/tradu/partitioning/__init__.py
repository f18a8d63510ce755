"""Partition: documents to blocks to segments, batches as Parquet row groups, shards of about equal cost."""
