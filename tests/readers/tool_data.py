"Files that tools have left, made by the tools themselves (see make/), as folders and databases again"
import json, sqlite3, sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE/'make'))
from truth import CELLS, curve, final_loss # noqa: E402, F401

def unpack(tool, folder):
    "Write what a tool left into a folder; a dump of a database becomes one"
    for name,text in json.loads((HERE/'data'/f'{tool}.json').read_text(encoding='utf-8')).items():
        path = folder/name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix != '.sql': path.write_text(text, encoding='utf-8')
        else:
            con = sqlite3.connect(path.with_suffix('.db'))
            con.executescript(f'BEGIN;\n{text}COMMIT;')
            con.close()
    return folder
