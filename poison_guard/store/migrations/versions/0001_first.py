"""The tables as `store.tables` describes them, the head of an empty audit chain, and the number of the format.

The tables are not spelled out here: nothing was released before them. The first migration after a release writes down
here what that release had.
"""

from __future__ import annotations

import secrets

import sqlalchemy as sa
from alembic import op

from poison_guard.store import tables

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables and their indexes."""
    conn = op.get_bind()
    tables.METADATA.create_all(conn)
    conn.execute(
        sa.insert(tables.chain), [{"id": 1, "seq": 0, "hash": "0" * 64, "mac": "", "secret": secrets.token_hex(32)}]
    )
    conn.execute(sa.insert(tables.store_format), [{"format": tables.STORE_FORMAT, "id": secrets.token_hex(16)}])


def downgrade() -> None:
    """Drop them; the records in the lake stay."""
    tables.METADATA.drop_all(op.get_bind())
