"""Folders of the form NAME=VALUE are columns of text; a local file has one name whatever leads to it."""

from __future__ import annotations

import os

from poison_guard.ingest.folders import folder_columns
from poison_guard.ingest.objects import resolve_paths
from poison_guard.ingest.raw_table import Limits
from tests.unit.ingest.conftest import NOW, accounted, contract_of


def test_folders_name_columns():
    assert folder_columns("s3://b/dt=2026-11-01/region=New%20York/p.csv?k=v") == {
        "dt": "2026-11-01",
        "region": "New York",
    }
    assert folder_columns("/x/region=__HIVE_DEFAULT_PARTITION__/a=b.csv") == {"region": None}


def test_a_contract_maps_the_columns_of_folders(tmp_path):
    from poison_guard.ingest.collect import collect_frames

    columns = {"source_id": "user", "answer": "answer", "item_id": "item", "observed_at": "dt", "group": "region"}
    for day in (1, 2):
        folder = tmp_path / f"dt=2026-02-0{day}" / "region=eu"
        folder.mkdir(parents=True)
        (folder / "f.csv").write_text(f"user,item,answer\nu{day},w,cat\n")
    batch = collect_frames(contract_of(columns), [str(tmp_path / "**" / "*.csv")], home=tmp_path, received_at=NOW)
    assert batch.records["observed_at"].dt.day.tolist() == [1, 2]
    assert batch.records["group"].tolist() == ["eu", "eu"]
    assert accounted(batch)


def test_a_column_of_the_file_is_kept_where_a_folder_has_its_name(tmp_path):
    from poison_guard.ingest.read import read_raw

    folder = tmp_path / "user=folder"
    folder.mkdir()
    (folder / "f.csv").write_text("user,item\nfile,w\n")
    assert read_raw([str(folder / "f.csv")])["user"].tolist() == ["file"]


def test_one_file_is_one_object_whatever_path_or_link_leads_to_it(tmp_path, monkeypatch):
    (tmp_path / "feeds").mkdir()
    file = tmp_path / "x.csv"
    file.write_text("a\n1\n")
    (tmp_path / "link.csv").symlink_to(file)
    monkeypatch.chdir(tmp_path)
    paths = [str(file), "x.csv", str(tmp_path / "feeds" / ".." / "x.csv"), "link.csv", str(tmp_path / "*.csv")]
    assert [ref.uri for ref in resolve_paths(paths, Limits(), by_hand=True)] == [os.path.realpath(file)]
