// tus-js-client, driven by one JSON argument; says what happened in JSON lines.
import {readFileSync} from 'node:fs'
import {Upload} from 'tus-js-client'

const given = JSON.parse(process.argv[2])
const say = (what) => console.log(JSON.stringify(what))

// Of a file on disk it never says that its end was reached, once it has resumed.
const upload = new Upload(readFileSync(given.file), {
  endpoint: given.endpoint,
  uploadUrl: given.uploadUrl ?? null,
  chunkSize: given.chunkSize ?? Number.POSITIVE_INFINITY,
  protocol: given.protocol,
  metadata: given.metadata ?? {},
  uploadDataDuringCreation: given.withUpload ?? false,
  retryDelays: Array(given.attempts ?? 20).fill(50),
  onUploadUrlAvailable: () => say({url: upload.url}),
  onError: (error) => {
    say({error: error.message})
    process.exitCode = 1
  },
  onSuccess: ({lastResponse}) => {
    say({status: lastResponse.getStatus(), body: lastResponse.getBody()})
  },
})
upload.start()
