const DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;.=>?@^_`{|}~";

/** Return bytes as Base85 text, with a period in place of `<`. */
export function base85(bytes) {
  const content = Buffer.from(bytes);
  let text = "";
  for (let start = 0; start < content.length; start += 4) {
    const group = Buffer.alloc(4);
    const size = content.copy(group, 0, start);
    let number = group.readUInt32BE();
    let digits = "";
    for (let place = 0; place < 5; place += 1) {
      digits = DIGITS[number % 85] + digits;
      number = Math.floor(number / 85);
    }
    text += digits.slice(0, size + 1);
  }
  return text;
}
