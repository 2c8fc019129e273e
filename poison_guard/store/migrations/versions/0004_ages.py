"""When the account behind a record was made: what later batches ask of answers that were accepted before."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; records of before have no age there, and are asked for it in the lake where it matters."""
    op.add_column("records", sa.Column("source_since", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    """Drop it; the payloads in the lake keep the age."""
    op.drop_column("records", "source_since")
