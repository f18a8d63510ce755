"""Where the bytes of a job lie, archives, and certificates of erasure."""

from pathlib import Path

from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.get_bind().exec_driver_sql((Path(__file__).parents[1] / "sql" / "0008_archives.sql").read_text().replace("%", "%%"))
