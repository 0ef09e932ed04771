// Parses the form on standard input by busboy or formidable; prints its parts.
import {readFile} from 'node:fs/promises'
import {createServer, request} from 'node:http'
import busboy from 'busboy'
import formidable from 'formidable'

const [parser, contentType] = process.argv.slice(2)
const parts = []

function byBusboy(incoming, done) {
  const parsing = busboy({headers: incoming.headers, defParamCharset: 'utf8'})
  parsing.on('field', (name, value) => {
    parts.push({name, filename: null, content: Buffer.from(value).toString('hex')})
  })
  parsing.on('file', (name, stream, info) => {
    const blocks = []
    stream.on('data', (block) => blocks.push(block))
    stream.on('end', () => {
      const content = Buffer.concat(blocks).toString('hex')
      parts.push({name, filename: info.filename, content})
    })
  })
  parsing.on('close', done)
  incoming.pipe(parsing)
}

async function byFormidable(incoming, done) {
  const form = formidable({allowEmptyFiles: true, minFileSize: 0, maxFields: 10000})
  const [fields, files] = await form.parse(incoming)
  for (const [name, values] of Object.entries(fields)) {
    for (const value of values) {
      parts.push({name, filename: null, content: Buffer.from(value).toString('hex')})
    }
  }
  for (const [name, uploads] of Object.entries(files)) {
    for (const upload of uploads) {
      const content = (await readFile(upload.filepath)).toString('hex')
      parts.push({name, filename: upload.originalFilename, content})
    }
  }
  done()
}

const blocks = []
for await (const block of process.stdin) blocks.push(block)
const body = Buffer.concat(blocks)

const server = createServer((incoming, outgoing) => {
  const parse = parser === 'busboy' ? byBusboy : byFormidable
  parse(incoming, () => outgoing.end())
})
server.listen(0, '127.0.0.1', () => {
  const headers = {'content-type': contentType, 'content-length': body.length}
  const {port} = server.address()
  const sending = request({host: '127.0.0.1', port, method: 'POST', headers}, (answer) => {
    answer.resume().on('end', () => {
      process.stdout.write(JSON.stringify(parts), () => process.exit(0))
    })
  })
  sending.end(body)
})
