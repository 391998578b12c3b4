"The report that a post shows is today's, and the picture of it is small"
import sys
from pathlib import Path

from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]/'tools'))
import sweep_picture # noqa: E402
from pictures import fingerprint # noqa: E402
from bs_lr_study.report.compose import tables # noqa: E402

def test_picture_shows_todays_report():
    picture = Image.open(sweep_picture.PICTURE)
    assert picture.text['source'] == fingerprint(tables(sweep_picture.sweep())), 'it is old: python tools/sweep_picture.py'
    assert sweep_picture.PICTURE.stat().st_size < 120_000

def test_what_a_report_says_changes_its_fingerprint():
    df = sweep_picture.sweep()
    worse = df.assign(val_loss=df.val_loss*1.5)
    worse.attrs = df.attrs
    assert fingerprint(tables(worse)) != fingerprint(tables(df))
