/**
 * `sampleKernel()` as the usual compressors pack it; Linux's build calls them with these options (scripts/Makefile.lib,
 * scripts/xz_wrap.sh). `xzBlocks` differs: several blocks, SHA-256, no branch filter.
 *
 *     xz --check=crc32 --x86 --lzma2=dict=64KiB      xz --check=sha256 --lzma2=dict=64KiB --block-size=1000
 *     lzma      bzip2      lz4 -l -9
 */
export const COMPRESSED_SAMPLES: Readonly<Record<'xz' | 'xzBlocks' | 'lzma' | 'bzip2' | 'lz4', Uint8Array>> = {
  xz: Buffer.from(
    '/Td6WFoAAAFpIt42AgEEACEBCADSuXTL4AizAp5dAD+RRYRoPYmm2orMk+JO8enh6PAAfZ2WTioLyrALvSvB5X3bdM6AkGt6N0lu7Qrt4cNPQsFr' +
      'JH2ZnyVT0rhUSyt58Z8E25lVzjh9t477FkXsI2rFwyPjuXGaUkpJbeB9lSojWNodwQQxJBEmipFj6UE6o8h5NTcy54IItlspy07wbgV3Q9GksLmY' +
      'LxULCdv24wMe2iidBtk5nBYpjb+oR1O0GM8Xy0sUAz7lFb87uI/wLelvvZr1HzKmMoCLkSc/bKNUdWTbmOppdDo1dL156H8ete6lfthi+VE5kWNv' +
      'kqiEBvJY0LgWGBMd1gYcxiSr3CCZfWliqLvAh6N7wFcMSHR6eTXszQyLEArztroutVgNEbDlW6RHJKittQaigFIfdlHaXhP0Ji5xw9vIWA+HN9rH' +
      'XO2PgcRiQnGtROXidqoOdNV8L/xVVoBTTM6JprEjo/tP/lRVfMNZVwHlmGegIcXyocpXTKOq1f8w0/hrl7jgVb0dJXK18caO70BQhYBO6Q0/C8M3' +
      'APb2oiHtuhDbz62MsAYoEaoX2rLbMij45INCFdyi9qnUV7c/OinQi1bzMoWl+rNepZlDUwbotvRPKe+2Mm3Q9jdBKWz7Hcj1gWl3qT2w1i2Syfxq' +
      'MNouBN2DmoNE0UNL+jDFog25ZCRPa/979zA4Ip/NjhkN7Y7FwcDwN4eBACgEojarBd/Zlw46/7pA33n0Kf70CTWnp/POzdmuat2Zc+aQ86e0H8Xw' +
      'uik32BZ/Ye4nVd7WfJP3/PqLRHTsQyLUK8JVU8igeaSKQlpjUgvIqSGGHMKkljjygSQ58SkyURUx+UIn3z6vysQd2yLmiCWuYXgXNyOO+Tq4CSv3' +
      'Vl6tVQfwGdfHSi1MgWYaBYZl8GRYr/PN5I3sGGAAAAAJ/KosAAG2BbQRAABPu9JIPjANiwIAAAAAAVla',
    'base64',
  ),
  xzBlocks: Buffer.from(
    '/Td6WFoAAArh+wyhAgAhAQgAAADYDyMT4APnASddAD+RRYRoPYmm2orMk+JO8enh6PAAfZ2WTioLyrALvSvB5X3bdM6AkGt6N0lu7Qrt4cNPQsFr' +
      'JH2ZpGx2F2GcSjOwfwRnOE+N9bDDZ4fF/8Upt9qpY494Y0B8pzXxpN/WNOsQc/sIBECWz12WD6EI4ra29v4ArbXkOpq/EZctbw7K1KC0THsKn9UF' +
      'Z8MxLenGo+cze8GSSpj8zr3imLbal5iNiJyOD59mKIi4LQDHMYikQMXd8m+cljN8UT7T0HbQUFJD3tdLXbrbXKieBHPfVYpCE4kqQg6Ks+ok7Ria' +
      '8nNLJY1GNS6xt9C2WcvNKbpUs48IXLYg3EUUvP7nPTqne8QGaNdDfQ8Od01qatfyfu8njR68M8VWLhTiJO7QHP3cqG07YQ5+nGEAANG2mdv0L754' +
      '0PC/0vTeVFhJGrvaAntUHn9OsRuQoPfHAgAhAQgAAADYDyMT4APnASNdAHSAG/d/+cCDnx3QVriJiM5yP1cDQeB5v0n52t5rPUW8RgwBL5hrFNiA' +
      'hNG9ilxlWMq/dJNm32AmojqczzOAbjk3MgfqV3xusRYxag75+nZ/IIYQ4Z7AcnwfxhxA2rtRS44DADurK9yePmvovjc1eQj6+yQQnyEx5lDTq/8i' +
      'C5CrNlubM7dpP7NeX/tERaeLBza9geoUDu5cFB2gybr8OUdTDT4T3o7vwb6O+g9mtGoKXYCLNfdeRv73A3us/78I4DSQCOa8vSLxWONkJih8VBxF' +
      'pt3ooQ91n5c/d6pRu2JQ/xUkTOl9oPS54p2AnWvNDaZE0t5DGNFFZ2Z0lRKNNqd1ATWLydnUnIAy3EGefkSp/Zi7jGXrgirBma88D41BVhHTAAAA' +
      'roFzjwiKQrFHWDvbyrIYUZhj+hOUHzw22zu1FndiFLkCACEBCAAAANgPIxPgAOMAYl0AeYO/sSA+njsOI4tMW4DHXqRSJ4wrwSfrnipWg4FXpyUp' +
      'YvWY7EZqi+tbKwlxesQ2b39sXOWexhyaPPqkecch80ovrZwXc1SSJSC8irKgIFjWac+m9VShpDDbOx58AO2wrAAAAABhW5X260Q5O85WP1wUwPrk' +
      'apRJYzMFnPMjnDDU5NpE5AAD2wLoB9cC6AeWAeQBAAA6N1G5qwqGygQAAAAAClla',
    'base64',
  ),
  lzma: Buffer.from(
    'XQAAgAD//////////wA/kUWEaD2JptqKzJPiTvHp4ejwAH2dlk4qC8qwC70rweV923TOgJBrejdJbu0K7eHDT0LBayR9maRsdhdhnEozsH8EZzhP' +
      'jfWww2eHxf/FKbfaqWOPeGNAfKc18aTf1jTrEHP7CARAls9dlg+hCOK2tvb+AK215DqavxGXLW8OytSgtEx7Cp/VBWfDMS3pxqPnM3vBkkqY/M69' +
      '4pi22peYjYicjg+fZiiIuC0AxzGIpEDF3fJvnJYzfFE+09B20FBSQ97XS12621yongRz31WKQhOJKkIOirPqJO0YmvJzSyWNRjUusbfQtlnLzSm6' +
      'VLOPCFy2INxFFLz+5z06p3vEBmjXQ30PDndNamrX8n7vJ40evDPFVi4U4iTu0Bz93KhtO2FjTI7Bw19LoVOLyUplHxbxnvi1/TsdmJFN0SwujR5q' +
      'tFwhkWTI1EhRE2EKuhG/NX5ON5r6cuq8LR8EIkKjTowyaQN17+XqxlOxCa6bDgKhBfxU38fnxNwxax+Zmxdl6mQ/esG1kzC++bT6swWVzPzv9mTC' +
      'FaSCoRUSO47BTAw1DL83g/9EwCmbYo2CYAY1Tk/6/TvLyWUg4nR4M0jHKTSN0p9gNsdKM5kMWKC7upILekZ63EYZ1cKKP9Gcfv3eBDNUCnv2AdTj' +
      'NeZCHkNrR7lemMiMZ0XVrxCZVUwMlmPSSwtZAfxZh+P17w9/bYOlKj9btADzyVV/Z6/cGARki1kXrpO53dN6L7bflPqYZaJ2EPCAcQ8r+huZhkES' +
      'g7hf/nqQQA==',
    'base64',
  ),
  bzip2: Buffer.from(
    'QlpoOTFBWSZTWZNxx48AAeL///5f/19Px2vff3776/Vljluv97/kt57e8t/fWDt/+b7/wAI847cC6hqmonoKeKeo9BDQeU9EzQIGmmgNpM0RkMGg' +
      'NCZHqNoaEPU0PKeSZMTMpsiDxT0j1PIZJ6mZD0I9U9TQMpkyaaZGQGRoAAZMCGIaDTQYgyGjTQyNNNMgGgZMmgAaGgNBkAGENDQaAwaqn5TTTaCi' +
      'fqek1PTTRGmT0ATTRoNqaaabU9QaDJkwEYhpkwCeo0yYCYmCbUyaaYhgNIaHoJgjASppqptSNMagNoAg0DRhMAIyNGjTRoDEDTAjAAAEDI000Gg0' +
      'AAANADJowEBrjRXTVRMDaOgCisv5spx5g+jQDB2gPztERGq1VRWqKqKqKqNYio15KNkEYwHaOIGcAAgwPuAAKAAAUAoAABFzQpuKkyYqqqrMVmL6' +
      'o6IgZFBEyKLM3UW+yDBIyKaaaQ8ZBXkDIinOYsmuweBoTjyIOqYAAAArnHbL3fw5fPlHoGv2CgJ+wi5nCSsP+z3HpkXsU73GbzutwAAEEuDp9tbQ' +
      'vi+6l/9v0XFk6NmkXIcD9P9VuZwAC6OAwAC8W93pCAkZ826R6kEpBTHcDE6eIne68rihsjtQADvPjx9s5yy0Mr6tdxoyhtuLrAqUDzOAAO97P+ej' +
      '+OO4AAM9A5j53Tcny1KybK+29n2Hr4gAbn+BiEOrzg8pC2sOGuQOJ3zoMpG2m8vWs1SCoAAAJuwNiF+Oy3gIH+KnAaSxwDKvFHwSHmWe8qEJhh97' +
      'jyHcIxm9c6/CmMPnRGTx16TnulWQfyUakCsuFZ0Bd3z1TXRTrBo52Vc9YeqCAAAh+6bXfFsT0UmsT99qrIUUUUU0SiITmfW7NTgOm8Y6A4MbIvyQ' +
      'JrpaxLkd2DHTpolIjSWwAACdVCbpVAAKK/W7R/I3JMv8mNFiQKPvMma+3YL5Ud9UoZUnttYe8iuNImhAa/RWbx8iW2lg3FrSPvlyuGs/zs2eZ/w2' +
      'nAE0ABPgAIAB4k3H/s+cvwtnM3DdQWHl5j+Fixgxn0QBQPRv8ZSxn3TmPbAAATbS533H+kPpEec45eevQYIN1SnHHmMYzUABAAAIAD4ABFZy1SCI' +
      'ICNVFa1GoqtIQFKFETJIqKKcIu5IpwoSEm448eA=',
    'base64',
  ),
  lz4: Buffer.from(
    'AiFMGGoDAACEf0VMRgIBAQABAEMCAD4ADgABBwAuQAABAGdAADgAAgAlAE4AAACwJwACGwATCA4AHwgdAAE7AACwGAAiABAbABwEKQADAQD1EfMP' +
      'HvpVSInl6PMDAABBlifE+ejpAOj/AOkA//8AXcPMIACf0wMAAJXZnL8PIAAEn7MDAAAKMSOvfSAABJ+TAwAAxOLS4uMgAASfcwMAAOmTUCgsIAAE' +
      'n1MDAAB1QrNN5CAABJ8zAwAA9+/uVuEgAASfEwMAAMoxrZlpIAAEn/MCAAC1O30QGwABBY8CAAB63rTjYQABBQAgAE+DKOCfAAEFjwIAAEuF+iiH' +
      'AAEFjwIAADh1SY9IAAEFjwIAACC/Hj0zAAEFjwIAAO82rTAFAAEFjwIAABTCWQyzAAEFjwEAAGKfqx2mAAEFfwEAAKbxhNOAAAWfswEAAFbd+B3r' +
      'AAEFjwEAAHvjt1bnAAEFjwEAABQjEe7gAAEFjwEAABoRpeYcAAEFjwEAAMjbmf4gAAEFjwEAADdgbvL9AAEFjwAAALK3EDoeAAEFjwAAAP7TzR66' +
      'AAEFfwAAAOWKPBMAAgaPAAAAeM5+PeYAAQWPAAAAX7C9w4wAAQWPAAAAzCyS41sAAQWPAAAAudoMe8YAAQWPAAAA3kpR5BgAAQWP////JqRXpcgA' +
      'AQWP////Nae4SD4AAQWP////TbUQIIQAAQV/////fQ4w0uADBZ9z////Ri3IPBQAAQWP////zhbHJW8AAQWP////6mzyzEUAAQWP////FVNYoY0A' +
      'AQV//v//aJg2rcACBZ/T/v//kaGWvTAAAQV//v//wEAtQyAFBZ+T/v//Qk1dx6wAAQWP/v//ZsuiVUYAAQV//v//ZPHxCEACBZ8z/v//dNKVJhUA' +
      'AQWP/v//JOtEhBoAAQWP/f//Aq1PQsUAAQV//f//k+kEgwABBo/9///OAtD1rwABBY/9///dsn1MjgABBY/9//+c5m9egQABBY/9///eNS4alwAB' +
      'BY/9//+JjhRkhQABBX/9///lzLMdQAAFj/P8///Oqk374AAFn9P8//+XpoaSAQABBY/8///xelD6UAABBY/8//8FLBINmQABBY/8//+KA/n19AAB' +
      'BY/8///uExWI0wABBY/8///eDZSMjwABBYn8//+DYXoDUiAAUMxkYXRh',
    'base64',
  ),
};

/** `branchBytes()` as `xz --check=crc32 --x86` packs it. */
export const BRANCHES_XZ: Uint8Array = Buffer.from(
  '/Td6WFoAAAFpIt42AgEEACEBCADSuXTL4APnAm5dAHSAGMibU9sMNSzouJqtHleEJt94ZD5B5vswf5ugB+0eNNC06xxi3yjsNGKTsTgJdGI6ZfZA' +
    'W9V2CdwSxfmDmaGEMbBrDcOyLRSS2zFR7u3ffAp5D9/wTfKmrVK+WBxFF6do3NcrwNrUMeDDRLgFDQ5NaEvUG078ALWmRMFfn3gXzaix13RbZR58' +
    '7elReYGnvxM80+IKK7hCkZiK2ds6cCtAawFrMpqXwx89SHDMFmPa3ucWrkd9HdbNfxSP60zh7Mm/p7xByyeRuFiYU18e5Cvz2fr0URFeuDZYUPaZ' +
    'OTYrdibifhUEYs4MxsLcKzsgF3Hx4w3ZKh1Q2shS7MiHFcLHVOPbt/QvoG83n0f8wwBDN+CU0B0N1ExbU+xZgRI9ZVefaEyRgruRXjJ68jZGLeHy' +
    '9rgU6EwDzjFPvHwhap8iLMpF+DdvKna9+Ox15jJlD/QkU8T8e3TaengLYervpoZJ/nND5oz6vgf2EqKneF69KxdBFzgVeJP/NzcSYFM/9ion1Zcu' +
    'Hiw8TWw4eUPzcpnS/eqGLs3VRRWMqzuqYYbZAU/VLmCRzpx3RttCuEBI3hDtTRnZ+kcJjHqW/QZrfNTTVBpEVSzAOhMIyeIWQOmmlNkLfsXVahgJ' +
    '2iGJifPHITJdhp7+lSaCxYzs+c/eUoskGuWXsBVNCslKjJpW0iWiFvOfpKFNtRMlrX1H4Hq34puim5vcT/rkJ6vCInwbTxFwGAbhdXtIN4++CCSJ' +
    'Jg+gkmt7VZs0O3P60/JyXmyNGKV3A1cJdi85XLoWvFq01G/kOfrALl3P21ZfToWGrfCqHCKoy3tqAWXqJQNuBOoAAAD5N0NtAAGGBegHAAA609jV' +
    'PjANiwIAAAAAAVla',
  'base64',
);

/** `randomBytes()` as `xz --check=crc32 --x86` packs it. */
export const RANDOM_XZ: Uint8Array = Buffer.from(
  '/Td6WFoAAAFpIt42AgEEACEBCADSuXTLAQErQZYnxPmV2Zy/DwoxI699xOLS4uPpk1AoLHVCs03k9+/uVuHKMa2ZabU7fRAbet6042F6gyjgn0uF' +
    '+iiHOHVJj0ggvx49M+82rTAFFMJZDLNin6sdpqbxhNMzVt34Het747dW5xQjEe7gGhGl5hzI25n+IDdgbvL9srcQOh7+080euuWKPBOfeM5+PeZf' +
    'sL3DjMwskuNbudoMe8beSlHkGCakV6XINae4SD5NtRAghH0OMNIsRi3IPBTOFsclb+ps8sxFFVNYoY1omDat65Ghlr0wwEAtQw9CTV3HrGbLolVG' +
    'ZPHxCOZ00pUmFSTrRIQaAq1PQsWT6QSDMM4C0PWv3bJ9TI6c5m9egd41LhqXiY4UZIXlzLMdl86qTfswl6aGkgHxelD6UAUsEg2ZAEhZZckAAcAC' +
    'rAIAANrrRKw+MA2LAgAAAAABWVo=',
  'base64',
);
