// The picture and the data as files of the visitor.
function saveFiles(files) {
  for (const {name, content} of files) {
    const bytes = Uint8Array.from(atob(content), (c) => c.charCodeAt(0))
    save(name, new Blob([bytes], {type: "application/octet-stream"}))
  }
}
