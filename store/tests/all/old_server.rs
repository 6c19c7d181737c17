//! As much of an old Postgres as shakes hands: nobody can be expected to have one installed.

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

/// The first word of a client that asks for TLS, after the message's length of 8.
const TLS: u32 = 80_877_103;

/// Lets everybody in, as a server of this version; answers with its port.
pub async fn start(version: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(shake_hands(client, version));
        }
    });
    port
}

async fn shake_hands(mut client: TcpStream, version: &str) -> std::io::Result<()> {
    loop {
        let length = client.read_u32().await?;
        let code = client.read_u32().await?;
        let mut rest = vec![0; length as usize - 8];
        client.read_exact(&mut rest).await?;
        if code != TLS {
            break;
        }
        client.write_all(b"N").await?;
    }
    let authenticated = message(b'R', &0_u32.to_be_bytes());
    let told = message(b'S', format!("server_version\0{version}\0").as_bytes());
    let ready = message(b'Z', b"I");
    client
        .write_all(&[authenticated, told, ready].concat())
        .await?;
    // Until the client hangs up.
    client.read_to_end(&mut Vec::new()).await?;
    Ok(())
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap();
    [&[kind][..], &length.to_be_bytes(), body].concat()
}
