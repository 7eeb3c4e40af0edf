// The suite's origin, which would listen to the whole network, on 127.0.0.1 only: `node origin.mjs SERVER`.
import net from 'node:net'
import { pathToFileURL } from 'node:url'

const listen = net.Server.prototype.listen
net.Server.prototype.listen = function (port) {
  return listen.call(this, Number(port), '127.0.0.1')
}
await import(pathToFileURL(process.argv[2]))
