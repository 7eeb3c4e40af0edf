// The suite's client, without a terminal: `node client.mjs SUITE URL [CASE]...` runs all cases, or these, and prints what
// came of each as JSON: {name: {kind, result}}, where the result is true, or the kind of failure and what it is.
import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'

const [folder, base, ...names] = process.argv.slice(2)
const root = pathToFileURL(folder + '/')
const load = path => import(new URL(path, root))
const { default: suites } = await load('tests/index.mjs')
const { runTests, getResults } = await load('client/runner.mjs')
const fetch = createRequire(root)('node-fetch')

const all = suites.flatMap(suite => suite.tests).filter(test => !test.browser_only)
const wanted = all.filter(test => names.length === 0 || names.includes(test.id))
await runTests([{ tests: wanted }], fetch, false, base)
const results = getResults()
const cases = wanted.map(test => [test.id, { kind: test.kind ?? 'required', result: results[test.id] }])
console.log(JSON.stringify(Object.fromEntries(cases)))
