// The page of `segpipe serve`: sends a picture, and shows what comes back. Texts go in as text, never as markup.
"use strict"

const element = (id) => document.getElementById(id)
const percent = (share) => `${(100 * share).toFixed(1)}\u00a0%` // never broken before the sign
let token = ""
let last = null // the file that was sent
let shown = null // { picture, mask, classes, confidences, width, height }
let spot = null // the pixel that is read: [x, y]
let sending = 0 // counts requests, so that a late answer never covers a newer one

function say(text) {
  element("said").textContent = text
}

async function send(file) {
  const number = ++sending
  last = file
  element("result").hidden = true
  say(`Sending ${file.name} …`)
  const form = new FormData()
  form.append("picture", file)
  const late = () => number !== sending
  if (!/^[!-~]*$/.test(token)) {
    element("ask").hidden = false
    return say("A token holds ASCII letters without spaces alone; type it again.")
  }
  let answer
  try {
    const headers = token ? { Authorization: `Bearer ${token}` } : {}
    answer = await fetch("predict?format=json&maps=true", { method: "POST", body: form, headers })
  } catch {
    if (!late()) say("The server cannot be reached; look whether it runs, and send the picture again.")
    return
  }
  const content = await answer.json().catch(() => null) // a proxy may answer in its own words
  if (late()) return
  element("ask").hidden = answer.status !== 401
  if (!content || !answer.ok) {
    return say((content && content.detail) || `No answer of segpipe came back (status ${answer.status}); look at the proxy between, if there is one.`)
  }
  try {
    const found = await prepared(file, content.pictures[0])
    if (!late()) show(found, content.pictures[0])
  } catch (error) {
    if (!late()) say(`This browser cannot show the answer: ${error.message}`)
  }
}

async function pixels(png, width, height) {
  const bitmap = await createImageBitmap(await (await fetch(`data:image/png;base64,${png}`)).blob())
  const canvas = drawn(bitmap, width, height)
  return { canvas, data: canvas.getContext("2d").getImageData(0, 0, width, height).data }
}

function drawn(bitmap, width, height) {
  const canvas = document.createElement("canvas")
  Object.assign(canvas, { width, height })
  if (bitmap) canvas.getContext("2d", { willReadFrequently: true }).drawImage(bitmap, 0, 0, width, height)
  return canvas
}

async function prepared(file, found) {
  const { width, height, classes } = found
  const bitmap = await createImageBitmap(file).catch(() => null) // a format that only the server reads
  const [mask, confidences] = await Promise.all([found.mask, found.confidences].map((png) => pixels(png, width, height)))
  return { picture: bitmap, width, height, classes, mask, confidences }
}

function show(next, found) {
  shown = next
  spot = null
  Object.assign(element("canvas"), { width: next.width, height: next.height })
  element("name").textContent = found.name
  element("remark").textContent = `The model may not know such pictures: ${found.remark}.`
  element("remark").hidden = !found.remark
  element("shares").replaceChildren(...next.classes.map(row))
  element("confidence").textContent = `Mean confidence: ${percent(found.confidence)}.`
  element("pixel").textContent = "Click the picture, or move over it with the arrow keys, to read a pixel."
  const link = element("download")
  link.href = `data:image/png;base64,${found.mask}`
  link.download = `${found.name.replace(/\.[^.]*$/, "")}.png`
  element("result").hidden = false
  say(next.picture ? "" : "This browser cannot show pictures of this format, so you see the mask alone.")
  draw()
}

function row(one) {
  const line = document.createElement("tr")
  const [head, share, swatch] = ["th", "td", "span"].map((name) => document.createElement(name))
  head.scope = "row"
  swatch.className = "swatch"
  swatch.style.background = one.colour
  head.append(swatch, one.name)
  share.textContent = percent(one.share)
  line.append(head, share)
  return line
}

function draw() {
  if (!shown) return
  const context = element("canvas").getContext("2d")
  context.globalAlpha = 1
  context.clearRect(0, 0, shown.width, shown.height)
  if (shown.picture) context.drawImage(shown.picture, 0, 0, shown.width, shown.height)
  context.globalAlpha = element("strength").value / 100
  context.drawImage(shown.mask.canvas, 0, 0)
  context.globalAlpha = 1
  if (spot) cross(context, ...spot)
}

function cross(context, x, y) {
  const size = Math.max(shown.width, shown.height) / 40
  for (const [colour, width] of [["#000", size / 4], ["#fff", size / 10]]) {
    Object.assign(context, { strokeStyle: colour, lineWidth: width })
    context.beginPath()
    context.moveTo(x - size, y + 0.5)
    context.lineTo(x + size, y + 0.5)
    context.moveTo(x + 0.5, y - size)
    context.lineTo(x + 0.5, y + size)
    context.stroke()
  }
}

function read(x, y) {
  spot = [x, y].map((value, axis) => Math.min(Math.max(Math.floor(value), 0), [shown.width, shown.height][axis] - 1))
  const start = 4 * (spot[1] * shown.width + spot[0])
  const colour = "#" + [...shown.mask.data.slice(start, start + 3)].map((v) => v.toString(16).padStart(2, "0")).join("")
  const one = shown.classes.find((c) => c.colour.toLowerCase() === colour)
  const sure = percent(shown.confidences.data[start] / 255)
  element("pixel").textContent = `Row ${spot[1]}, column ${spot[0]}: ${one ? one.name : colour}, confidence ${sure}.`
  draw()
}

element("canvas").addEventListener("click", (event) => {
  const box = event.target.getBoundingClientRect()
  read(((event.clientX - box.left) / box.width) * shown.width, ((event.clientY - box.top) / box.height) * shown.height)
})

element("canvas").addEventListener("keydown", (event) => {
  const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key]
  if (!step) return
  event.preventDefault()
  const far = event.shiftKey ? 1 : Math.max(1, Math.round(Math.max(shown.width, shown.height) / 50))
  const [x, y] = spot || [Math.floor(shown.width / 2), Math.floor(shown.height / 2)]
  read(x + step[0] * far, y + step[1] * far)
})

element("strength").addEventListener("input", draw)
element("choose").addEventListener("click", () => element("file").click())
element("file").addEventListener("change", (event) => {
  if (event.target.files.length) send(event.target.files[0])
  event.target.value = "" // so that the same file can be chosen again
})
element("ask").addEventListener("submit", (event) => {
  event.preventDefault()
  token = element("token").value
  if (last) send(last)
})

async function dropped(files) {
  if (!files.length) return say("No file was dropped; drop a picture from a folder, or choose one.")
  await send(files[0])
  if (files.length > 1) element("said").append(` Only the first of ${files.length} files was sent.`)
}

for (const kind of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault()
    document.body.classList.toggle("over", kind === "dragover")
    if (kind === "drop") dropped(event.dataTransfer.files)
  })
}

function close() {
  const stream = element("video").srcObject
  for (const track of stream ? stream.getTracks() : []) track.stop()
  element("video").srcObject = null
  element("taking").hidden = true
  element("camera").disabled = false
  element("camera").focus()
}

element("camera").hidden = !navigator.mediaDevices // browsers give the camera to loopback and HTTPS alone
element("camera").addEventListener("click", async () => {
  element("camera").disabled = true // a second stream would leave the first one on
  try {
    const stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } })
    element("video").srcObject = stream
    await element("video").play() // from then on it has a picture to take
    element("taking").hidden = false
    element("take").focus()
  } catch (error) {
    close()
    say(`The camera cannot be used: ${error.message}`)
  }
})
element("close").addEventListener("click", close)
element("take").addEventListener("click", () => {
  const video = element("video")
  const canvas = drawn(video, video.videoWidth, video.videoHeight)
  close()
  canvas.toBlob((blob) => send(new File([blob], "camera.jpg", { type: "image/jpeg" })), "image/jpeg", 0.95)
})
