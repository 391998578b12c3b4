"What claims are tested on, and the ledger of it, worked out once"
import pytest

from bs_lr_study.lab.evidence import evidence
from bs_lr_study.lab.verdicts import ledger
from made_up import load

@pytest.fixture(scope='session')
def ev(): return evidence()

@pytest.fixture(scope='session')
def verdicts(ev):
    "The ledger by the claims' names"
    return ledger(ev).set_index('name', drop=False)

@pytest.fixture(scope='session')
def raw(): return load('2025-06-04')
