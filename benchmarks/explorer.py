"""How soon the explorer can be used, and how soon after 10,000 rows are dropped on it"""
import argparse, random, shutil, statistics, tempfile
from pathlib import Path

from bs_lr_study.explore import explorer

OPENED = "performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd" # the script has run by then
DROP = """async text => {
  const files = new DataTransfer(), input = document.getElementById('file'), study = document.getElementById('study')
  files.items.add(new File([text], `${Math.random()}.csv`))
  const start = performance.now(), before = study.value
  input.files = files.files
  input.dispatchEvent(new Event('change'))
  while (study.value === before) await new Promise(requestAnimationFrame)
  return performance.now() - start
}"""

def table(seeds, draw=random.Random(0)):
    "A CSV of 100 cells"
    rows = [f'{2**i},1e-{j},{s},{draw.gauss(.5, .05):.4f}' for i in range(3, 13) for j in range(10) for s in range(seeds)]
    return '\n'.join(['bs,lr,seed,acc', *rows])

def measured(tries):
    "Milliseconds until the page can be used, and until a dropped table is shown"
    from playwright.sync_api import sync_playwright
    chrome = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), None)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as p:
        path = explorer(path=Path(folder)/'explorer.html')
        browser = p.chromium.launch(executable_path=chrome, chromium_sandbox=False, args=['--disable-gpu'])
        opened,dropped = [],[]
        for _ in range(tries):
            page = browser.new_page()
            page.goto(path.as_uri())
            opened.append(page.evaluate(OPENED))
            dropped.append(page.evaluate(DROP, table(100)))
            page.close()
        browser.close()
        print(f'{path.stat().st_size:,} bytes')
    return dict(opened=opened, dropped=dropped)

def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument('--tries', type=int, default=5, help='how often each is measured')
    tries = p.parse_args().tries
    for what,ms in measured(tries).items():
        print(f'{what}: {statistics.median(ms):.0f} ms, the median of {tries}; {min(ms):.0f} to {max(ms):.0f}')

if __name__ == '__main__': main()
