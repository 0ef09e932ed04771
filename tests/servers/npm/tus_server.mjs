// The tus server of @tus/server, keeping what arrived whole.
// Listens on a free port and prints it.
import {copyFile, mkdir, writeFile} from 'node:fs/promises'
import {join} from 'node:path'
import {FileStore} from '@tus/file-store'
import {Server} from '@tus/server'

const root = process.env.SERVER_ROOT
const partial = join(root, 'partial')
const kept = join(root, 'kept')
await mkdir(partial, {recursive: true})
await mkdir(kept, {recursive: true})

const expiry = Number(process.env.EXPIRY ?? 0) * 1000
const datastore = new FileStore({directory: partial, expirationPeriodInMilliseconds: expiry})
const server = new Server({
  path: '/files',
  datastore,
  async onUploadFinish(request, upload) {
    await copyFile(join(partial, upload.id), join(kept, `${upload.id}.bin`))
    const note = {type: null, metadata: upload.metadata ?? {}}
    await writeFile(join(kept, `${upload.id}.json`), JSON.stringify(note))
    return {}
  },
})
const http = server.listen({host: '127.0.0.1', port: 0}, () => {
  console.log(http.address().port)
})
