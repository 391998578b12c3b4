// Two lists by which the claims of the ledger are picked. Without this script the page shows all of them.
const rows = [...document.querySelectorAll('td a[id]')].map(a => a.closest('tr'))
const tables = [...new Set(rows.map(row => row.closest('table')))]
const headings = [...document.querySelectorAll('main h2')]
const before = (a, b) => a.compareDocumentPosition(b) & Node.DOCUMENT_POSITION_FOLLOWING
const headingOf = table => headings.filter(h => before(h, table)).at(-1)
const nameOf = h => h.firstChild.textContent.trim()
const verdictOf = row => row.cells[1].textContent.trim()

const list = (name, label, values) => {
  const options = values.map(v => Object.assign(document.createElement('option'), {value: v, textContent: v}))
  const select = Object.assign(document.createElement('select'), {name})
  select.append(Object.assign(document.createElement('option'), {value: '', textContent: 'all'}), ...options)
  const box = document.createElement('label')
  box.append(`${label} `, select)
  return box
}

const form = Object.assign(document.createElement('form'), {className: 'ledger-filters'})
const count = document.createElement('output')
form.append(list('source', 'Source', tables.map(headingOf).map(nameOf)),
  list('verdict', 'Verdict', [...new Set(rows.map(verdictOf))]), count)

const show = () => {
  const {source, verdict} = form.elements
  let shown = 0
  for (const table of tables) {
    const here = !source.value || source.value === nameOf(headingOf(table))
    const mine = rows.filter(row => row.closest('table') === table)
    for (const row of mine) row.hidden = !(here && (!verdict.value || verdict.value === verdictOf(row)))
    const some = mine.filter(row => !row.hidden).length
    shown += some
    for (let o = headingOf(table); o && !o.contains(table); o = o.nextElementSibling) o.hidden = !some
    table.hidden = !some
  }
  count.textContent = `${shown} of ${rows.length} claims`
}

const chosen = () => Object.fromEntries([...new FormData(form)].filter(([, v]) => v))
form.addEventListener('change', () => {
  const query = new URLSearchParams(chosen())
  history.replaceState(null, '', `${location.pathname}${query.size ? `?${query}` : ''}`)
  show()
})
// A link to a claim shows it, whatever was picked
const all = () => { if (location.hash) { form.reset(); show() } }
addEventListener('hashchange', all)

for (const [k, v] of new URLSearchParams(location.search)) if (form.elements[k]) form.elements[k].value = v
headingOf(tables[0]).before(form)
show()
all()
if (location.hash) document.getElementById(decodeURIComponent(location.hash.slice(1)))?.scrollIntoView()
