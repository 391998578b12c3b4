"""Locks on whatever file systems and machines, whole writes, secrets that stay secret."""
import errno, os, signal, subprocess, sys, threading, time
from pathlib import Path

import pytest

from bs_lr_study import files
from bs_lr_study.files import Lease, locked
from bs_lr_study.runs import Run, grid
from bs_lr_study.store import Store, StoreError

RUNS = [Run(c, 'oom', 'out of memory') for c in grid(data='digits', model='small', bs=[8, 16], lr=.1)]
NO_LOCKS = [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP]

@pytest.fixture
def quick(monkeypatch):
    "Signs of life so often that a test need not wait"
    monkeypatch.setattr(files, 'BEAT', .1)
    monkeypatch.setattr(files, 'STALE', 1)

@pytest.fixture
def store(tmp_path): return Store(tmp_path/'runs.jsonl')

def without_locks(monkeypatch, code):
    def flock(*_): raise OSError(code, os.strerror(code))
    monkeypatch.setattr('fcntl.flock', flock)

def elsewhere(monkeypatch, name='elsewhere'): monkeypatch.setattr(files, '_machine', lambda: f'{name} boot')

HOLD = '''
import errno, fcntl, os, sys, time
from bs_lr_study import files
from bs_lr_study.store import Store
path,code,machine = sys.argv[1:]
files.BEAT = .1
if machine: files._machine = lambda: f'{machine} boot'
def flock(*_): raise OSError(int(code), os.strerror(int(code)))
if int(code): fcntl.flock = flock
with Store(path).owned():
    print('held', flush=True)
    time.sleep(600)
'''

@pytest.fixture
def sweep(store):
    "Start a process that owns the store, on another machine and without the system's locks if asked for"
    started = []
    def start(code=0, machine=''):
        p = subprocess.Popen([sys.executable, '-c', HOLD, store.path, str(code), machine], stdout=subprocess.PIPE, text=True)
        started.append(p)
        assert p.stdout.readline() == 'held\n'
        return p
    yield start
    for p in started:
        p.kill()
        p.wait()

class TestLocks:
    @pytest.mark.parametrize('theirs', [0, *NO_LOCKS])
    @pytest.mark.parametrize('ours', [0, *NO_LOCKS])
    def test_two_machines_never_own_a_store_and_the_second_goes_on_when_the_first_is_gone(
            self, store, sweep, quick, monkeypatch, ours, theirs):
        "Whatever each file system answers, and whatever it answered before; nothing has to be deleted by hand"
        with store.owned(): store.append(RUNS[0]) # leaves the lock files of a system with locks behind
        first = sweep(theirs, 'first')
        if ours: without_locks(monkeypatch, ours)
        elsewhere(monkeypatch, 'second')
        with pytest.raises(StoreError, match=rf'another sweep is running .*process {first.pid} on first'):
            with store.owned(): pass
        os.kill(first.pid, signal.SIGKILL)
        first.wait()
        for _ in range(2):
            with store.owned(): store.append(RUNS[1])
        assert len(store.runs()) == 2

    @pytest.mark.parametrize('code', [0, *NO_LOCKS])
    def test_a_sweep_of_this_machine(self, store, sweep, quick, monkeypatch, code):
        first = sweep(code)
        if code: without_locks(monkeypatch, code)
        with pytest.raises(StoreError, match='another sweep is running'):
            with Store(store.path).owned(): pass
        os.kill(first.pid, signal.SIGKILL)
        first.wait()
        began = time.monotonic()
        with store.owned(): waited = time.monotonic() - began
        assert code or waited < files.STALE # the system has let go of the lock

    def test_a_store_has_one_owner_by_all_its_links(self, store, tmp_path):
        (tmp_path/'drive').symlink_to(tmp_path)
        link = tmp_path/'link.jsonl'
        link.symlink_to(store.path)
        for path in (link, tmp_path/'drive'/'runs.jsonl', tmp_path/'drive'/'link.jsonl'):
            with Store(path).owned(), pytest.raises(StoreError, match='another sweep is running'):
                with store.owned(): pass
            with locked(f'{store.path}.lock', 1, ''), pytest.raises(StoreError, match='being written'):
                Store(path, timeout=.05).append(RUNS[0])

    def test_of_all_who_take_over_one_has_it(self, tmp_path, quick):
        (tmp_path/'a.held').write_text('elsewhere boot alone 1 x\n')
        leases = [Lease(tmp_path/'a.held', None) for _ in range(8)]
        together = threading.Barrier(8)
        def take(lease): together.wait(); lease.seize()
        threads = [threading.Thread(target=take, args=[o]) for o in leases]
        for t in threads: t.start()
        for t in threads: t.join()
        assert sum(o.held() for o in leases) == 1
        for o in leases: o.release()

    def test_who_was_asleep_for_too_long_writes_no_more(self, store, quick, monkeypatch):
        with store.owned():
            store.append(RUNS[0])
            files.write_whole(f'{store.path}.sweep.held', b'elsewhere boot alone 1 x\n') # another machine has taken over
            with pytest.raises(StoreError, match='taken over by another sweep'): store.append(RUNS[1])
        assert Path(f'{store.path}.sweep.held').read_text() == 'elsewhere boot alone 1 x\n' # and keeps it
        assert len(store.runs()) == 1

    @pytest.mark.parametrize('code', [0, errno.ENOSYS])
    def test_a_lease_that_is_deleted_is_made_again(self, store, quick, monkeypatch, code):
        "Nobody else may have it yet; the sweep goes on"
        if code: without_locks(monkeypatch, code)
        lease = Path(f'{store.path}.sweep.held')
        with store.owned():
            mine = lease.read_text()
            lease.unlink()
            store.append(RUNS[0])
            assert lease.read_text() == mine.rstrip('.')
            lease.unlink()
            while not lease.exists(): time.sleep(.01) # with the next sign of life
            with pytest.raises(StoreError, match='another sweep is running'):
                with Store(store.path).owned(): pass
        time.sleep(2*files.BEAT)
        assert not lease.exists() and len(store.runs()) == 1

    def test_who_was_asleep_while_another_came_and_went_writes_no_more(self, store, quick, monkeypatch):
        "A lease that could have been taken over is not made again"
        with store.owned():
            then = time.time()
            monkeypatch.setattr(files, 'time', lambda: then + 2*files.STALE)
            Path(f'{store.path}.sweep.held').unlink()
            with pytest.raises(StoreError, match='taken over by another sweep'): store.append(RUNS[1])

    @pytest.mark.parametrize('n', [1, 4])
    def test_a_file_that_was_replaced_on_a_network_drive_is_read_again(self, tmp_path, quick, monkeypatch, n):
        left,read_text = [errno.ESTALE]*n,Path.read_text
        def stale(path, *args, **kw):
            if path.suffix == '.held' and left: raise OSError(left.pop(), 'Stale file handle')
            return read_text(path, *args, **kw)
        monkeypatch.setattr(Path, 'read_text', stale)
        with locked(tmp_path/'a', 1, ''): assert left == []

    @pytest.mark.parametrize('code,why', [
        *((o, 'this process may not make one') for o in (errno.EACCES, errno.EPERM, errno.EROFS)),
        *((o, 'there is no room for it') for o in (errno.ENOSPC, errno.EDQUOT))])
    def test_a_folder_in_which_no_file_can_be_made_is_named(self, store, tmp_path, monkeypatch, code, why):
        store.append(RUNS[0])
        def refuse(path, mode='r', *args, **kw):
            if mode == 'x': raise OSError(code, os.strerror(code))
            return open(path, mode, *args, **kw)
        monkeypatch.setattr(files, 'open', refuse, raising=False)
        said = f'{os.strerror(code)}: a lock needs a file of its own in {tmp_path}, where {why}'
        for use in (lambda: store.append(RUNS[1]), lambda: store.owned().__enter__()):
            with pytest.raises(StoreError, match=said): use()

    def test_who_did_not_wait_is_not_told_that_it_did(self, store):
        with store.owned(), pytest.raises(StoreError, match=rf'process {os.getpid()} on [^;]*\)$'):
            with Store(store.path).owned(): pass
        with locked(f'{store.path}.lock', 1, ''), pytest.raises(StoreError, match=r'; waited 0\.05 s\)$'):
            Store(store.path, timeout=.05).append(RUNS[0])

    def test_a_lease_grows_until_it_is_released(self, tmp_path, quick):
        with locked(tmp_path/'a', 1, '') as lease:
            size = len(lease.read())
            while len(lease.read()) < size + 3: time.sleep(.01)
        assert lease.read() is None
        time.sleep(2*files.BEAT)
        assert lease.read() is None

    def test_what_earlier_versions_left(self, tmp_path, quick, monkeypatch):
        "An empty lock file, and one whose existence was the lock"
        (tmp_path/'a').touch()
        (tmp_path/'a.held').write_text('123\nelsewhere\n')
        without_locks(monkeypatch, errno.ENOSYS)
        with pytest.warns(UserWarning, match='no sign of life'):
            with locked(tmp_path/'a', 0, ''): pass

    def test_other_errors_of_the_disk_are_told(self, tmp_path, monkeypatch):
        without_locks(monkeypatch, errno.EIO)
        with pytest.raises(OSError, match='Input/output error'):
            with locked(tmp_path/'a', 0, ''): pass

    def test_names_of_holders_are_clean(self, tmp_path, quick):
        lease = 'net\x1b[2J boot alone 12 x\n'
        assert files.holder(lease) == 'process 12 on net\ufffd[2J' and files.holder(None) == files.holder('') == 'another process'

class TestWrites:
    def synced(self, monkeypatch):
        "The folders that are synced"
        seen,fsync = [],os.fsync
        def note(fd):
            path = Path(os.readlink(f'/proc/self/fd/{fd}'))
            if path.is_dir(): seen.append(path)
            fsync(fd)
        monkeypatch.setattr('os.fsync', note)
        return seen

    def test_a_new_file_is_in_its_folder_after_a_crash_of_the_machine(self, tmp_path, monkeypatch):
        seen = self.synced(monkeypatch)
        files.append_bytes(tmp_path/'log', b'a\n')
        files.append_bytes(tmp_path/'log', b'b\n')
        assert seen == [tmp_path] # once it is there, it is there
        files.write_whole(tmp_path/'plan', b'x')
        files.write_whole(tmp_path/'plan', b'y')
        assert seen == [tmp_path]*3

    def test_folders_that_cannot_be_synced(self, tmp_path, monkeypatch):
        fsync = os.fsync
        def refuse(fd):
            if Path(os.readlink(f'/proc/self/fd/{fd}')).is_dir(): raise OSError(errno.EINVAL, 'Invalid argument')
            fsync(fd)
        monkeypatch.setattr('os.fsync', refuse)
        files.write_whole(tmp_path/'plan', b'x')
        assert (tmp_path/'plan').read_bytes() == b'x'

    def test_threads_that_write_one_file(self, tmp_path):
        "The last one stays, whole"
        def write(i):
            for _ in range(20): files.write_whole(tmp_path/'plan', bytes([i])*9999)
        threads = [threading.Thread(target=write, args=[i]) for i in range(4)]
        for t in threads: t.start()
        for t in threads: t.join()
        assert len(set((tmp_path/'plan').read_bytes())) == 1 and len(list(tmp_path.iterdir())) == 1

class TestSecrets:
    @pytest.mark.parametrize('name', [
        'WANDB_API_KEY', 'DB_PASS', 'SSHPASS', 'GPG_PASSPHRASE', 'MYSQL_PWD', 'PGPASSWORD', 'X_PASSWD',
        'AWS_SECRET_ACCESS_KEY', 'GITHUB_PAT', 'SESSION_COOKIE', 'NPM_AUTH', 'HF_TOKEN', 'SENTRY_DSN',
        'GOOGLE_APPLICATION_CREDENTIALS', 'apikey'])
    def test_names_that_say_so(self, monkeypatch, name):
        monkeypatch.setenv(name, 'correct horse')
        assert files.without_secrets('401 for correct horse battery') == '401 for *** battery'

    @pytest.mark.parametrize('name', ['GIT_AUTHOR_NAME', 'PWD', 'OLDPWD', 'KEYBOARD', 'SSH_AUTH_SOCK', 'XAUTHORITY', 'PATH', 'COMPASSION'])
    def test_names_that_only_sound_like_it(self, monkeypatch, name):
        monkeypatch.setenv(name, 'Ada Lovelace')
        assert files.without_secrets('thanks to Ada Lovelace') == 'thanks to Ada Lovelace'

    def test_passwords_in_the_addresses_of_the_environment(self, monkeypatch):
        monkeypatch.setenv('DATABASE_URL', 'postgres://me:hunter2222@db/runs')
        assert files.without_secrets('password authentication failed: hunter2222') == 'password authentication failed: ***'

    @pytest.mark.parametrize('text', [
        'postgres://me:{}@db/runs', 'mongodb+srv://me:{}@db.net/?w=1', 'redis://:{}@cache:6379/0',
        'https://me:a/{}@b.c/d', 'https://me:a@{}@b.c/d', 'https://{}@b.c',
        'GET /x?token={}&page=2', 'GET /x?a=1&api_key={}', 'https://b.c/x?sig={}',
        "Server=db;Password={};Timeout=1", 'host=db password={} user=me',
        "{{'password': '{}'}}", '{{"token":"{}"}}',
        'Cookie: session={}; theme=dark', 'Set-Cookie: id={}; Path=/',
        'X-Api-Key: {}', 'Authorization: Bearer {}', 'authorization: basic {}', 'client_secret={}'])
    def test_secrets_by_what_stands_before_them(self, text):
        secret = 'b5ce2c0ffee12345678'
        assert secret not in (got := files.without_secrets(text.format(secret))) and ('***' in got or '@' not in got), got

    @pytest.mark.parametrize('text', [
        'http://127.0.0.1:8080/me@x', 'https://b.c/x?page=2&sort=lr',
        'tokens=64', 'expected token: NAME', 'a key=lambda o: o', 'me@b.c', 'bs=8, lr=0.1, seed=0',
        'package.module:function', 'no column called key', 'digits-small-bs-8-lr-0.1'])
    def test_what_is_no_secret_stays(self, text): assert files.without_secrets(text) == text

def test_a_lease_that_cannot_be_written_is_not_left_behind(tmp_path):
    "Half a lease would keep all others waiting for a process that does not exist"
    code = f"""
import resource, sys
from bs_lr_study.files import locked
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
try:
    with locked({str(tmp_path/'x.lock')!r}, 1, 'busy'): pass
except OSError as e: print('refused', e.errno)
"""
    out = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert 'refused' in out.stdout, out.stderr
    assert not (tmp_path/'x.lock.held').exists()

@pytest.mark.parametrize('name', ['OPENAI_API_KEY2', 'API_KEY1', 'DB_SECRET2', 'TOKEN2'])
def test_numbered_secrets_are_masked(name, monkeypatch):
    monkeypatch.setenv(name, 'value-of-a-secret')
    assert 'value-of-a-secret' not in files.without_secrets('it was value-of-a-secret')

def test_two_threads_that_start_processes_leave_the_environment_as_it_was(monkeypatch):
    monkeypatch.delenv('PYTHONSAFEPATH', raising=False)
    inside,both = [],threading.Barrier(2)
    def start(first):
        both.wait()
        with files.safe_path():
            inside.append(os.environ.get('PYTHONSAFEPATH'))
            time.sleep(.05)
            inside.append(os.environ.get('PYTHONSAFEPATH'))
    threads = [threading.Thread(target=start, args=[i]) for i in range(2)]
    for t in threads: t.start()
    for t in threads: t.join()
    assert inside == ['1']*4 and 'PYTHONSAFEPATH' not in os.environ
